"""adapted: any text model as a dual encoder, frozen but for low-rank adapters in its top layers.

Hu et al. 2021 for the adapters, https://arxiv.org/abs/2106.09685; Gao et al. 2021 for training on texts alone,
https://arxiv.org/abs/2104.08821
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from twofold.catalog import baseline
from twofold.objectives import Loss, info_nce
from twofold.parts import Last, Mean, Part, Pool, TextEncoder
from twofold.surgery import add_adapters, merge_adapters
from twofold.surgery.attention import change_attention
from twofold.tasks import Model, backbones
from twofold.tasks.inputs import Inputs, StateInputs, TokenInputs
from twofold.tasks.search import EncoderModel, PairBatch, PairBatches, SearchData, SearchSystem

POOLS: Mapping[str, type[Pool]] = {"mean": Mean, "last": Last}


@baseline(
    "adapted",
    title="LoRA: Low-Rank Adaptation of Large Language Models",
    tasks=("search",),
    source="https://arxiv.org/abs/2106.09685",
    needs=(
        "turn a language model into an embedding model",
        "fine-tune a big model for search with little memory",
        "low-rank adapters, LoRA",
    ),
)
class Adapted(SearchSystem):
    """Dual encoder from any text model: low-rank adapters in its top layers, merged when training is over."""

    by_name: ClassVar[bool] = True

    learns: Literal["supervised", "unsupervised"] = Field(
        "supervised", description="learn from pairs, or from each text alone under two dropouts"
    )
    pooling: Literal["mean", "last"] = Field("mean", description="of the states of real tokens")
    rank: int = Field(8, ge=1, description="width of the adapters")
    alpha: float = Field(16.0, gt=0, description="scale of the adapters, divided by the rank")
    two_way: bool = Field(False, description="lift the causal mask of a decoder")
    instruction: str = Field("", description="what every query begins with; it does not count towards query_tokens")
    negatives: int = Field(1, ge=0, description="hard negatives a query, where it learns from pairs")
    dropout: float = Field(0.1, gt=0, lt=1, description="of the features that trained layers read, in texts alone")
    temperature: float = Field(0.05, gt=0, description="of the softmax over the batch's documents")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")

    def network(self, chosen: backbones.Chosen) -> TextEncoder:
        model = chosen.model
        if self.two_way:
            change_attention(model, range(len(model.stack.layers)), options={"causal": False})
        return TextEncoder(model, POOLS[self.pooling](), normalise=True)

    def start(self, data: SearchData, seed: int) -> Model:
        model = super().start(data, seed)
        assert isinstance(model, EncoderModel)
        add_adapters(model.net.tower("document").model, self.rank, self.alpha, self.tune_layers)
        if self.instruction:
            assert model.tokenizer is not None
            told = len(model.tokenizer.encode([self.instruction], specials=False)[0])
            model.spec |= {"query_prefix": self.instruction, "query_tokens": self.query_tokens + told}
        return model

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PairBatch]:
        hard = self.negatives if self.learns == "supervised" else 0
        return PairBatches(self, model, data, seed, hard_after=0.0 if hard else 1.0, hard=max(1, hard))

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """The loss of the recipe."""
        assert isinstance(net, TextEncoder)
        known: Mapping[str, Callable[[TextEncoder, PairBatch], Loss]] = {
            "supervised": self.paired,
            "unsupervised": self.alone,
        }
        return known[self.learns](net, batch)

    def paired(self, net: TextEncoder, batch: PairBatch) -> Loss:
        """A query must find its document among the batch's."""
        return info_nce(
            batch.queries.embed(net),
            batch.documents.embed(net),
            self.temperature,
            two_way=False,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
        )

    def alone(self, net: TextEncoder, batch: PairBatch) -> Loss:
        """A text must find itself under other dropout among the batch's; queries and documents apart."""
        losses = []
        for texts, ids in ((batch.queries, batch.query_ids), (batch.documents, batch.document_ids)):
            views = [self.view(net, texts) for _ in range(2)]
            losses.append(
                info_nce(views[0], views[1], self.temperature, two_way=False, query_ids=ids, document_ids=ids)
            )
        value = losses[0].value + losses[1].value
        return Loss(value, {"loss": value.detach()})

    def view(self, net: TextEncoder, texts: Inputs) -> Float[Tensor, "batch dim"]:
        """Vectors with dropout on what the layers read that are trained."""
        if isinstance(texts, TokenInputs):
            texts = StateInputs(net.lower(texts.ids, texts.real, 0), texts.real, 0)
        assert isinstance(texts, StateInputs)
        return net.upper(F.dropout(texts.states, self.dropout, net.training), texts.real, texts.layers)

    def finish(self, model: Model) -> None:
        merge_adapters(model.net)

    def small(self) -> Self:
        return replace(super().small(), tune_layers=0, rank=4, lr=1e-2)  # type: ignore[call-arg]
