"""M2-BERT: whole long documents read without attention, by long convolutions and block-diagonal maps.

Saad-Falcon et al. 2024, "Benchmarking and Building Long-Context Retrieval Models with LoCo and M2-BERT",
https://arxiv.org/abs/2402.07440
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss, info_nce, orthogonal
from twofold.parts import Learned, Mean, Part, SequenceModel, TextEncoder, TokenEmbedding
from twofold.tasks import Model, backbones
from twofold.tasks.options import Backbone
from twofold.tasks.search import EncoderModel, PairBatch, PairBatches, SearchData, SearchSystem

SMALL: dict[str, Any] = {"query_tokens": 8, "document_tokens": 520, "batch": 8}


@system(
    "m2-bert-loco",
    number=45,
    title="Benchmarking and Building Long-Context Retrieval Models with LoCo and M2-BERT",
    tasks=("search",),
    source="https://arxiv.org/abs/2402.07440",
    year=2024,
    needs=(
        "search long documents, laws, reports or scripts",
        "long-context embedding model",
        "documents longer than an encoder reads",
        "train a retriever with a batch of one",
    ),
    simplified=(
        "two layers of width 64, trained on pairs from the start, in place of 80 million weights and pre-training on "
        "a mixture of short and long texts",
        "the LoCo sets are read as any collection is; no study runs over all twelve of them",
        "kernels to both sides come from two small networks of sines, in place of one of the paper's kind",
    ),
)
class M2Bert(SearchSystem):
    """Dual encoder of long convolutions (Monarch Mixer): a document of thousands of tokens is one vector."""

    by_name: ClassVar[bool] = True

    backbone: Backbone | None = Field(  # type: ignore[assignment]
        None, description="another backbone in place of layers, dim and blocks: a name, a folder or layers as data"
    )
    tune_layers: int = Field(0, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    layers: int = Field(2, ge=1, description="blocks")
    dim: int = Field(64, ge=8, description="width")
    blocks: int = Field(4, ge=1, description="of the block-diagonal maps between features; 1: plain matrices")
    document_tokens: int = Field(512, ge=2, le=32768, description="documents are cut here")
    batch: int = Field(8, ge=1, description="pairs in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    objective: Literal["softmax", "orthogonal"] = Field(
        "softmax", description="over the batch's documents; or cosines of 1 and 0, which a batch of one can learn"
    )
    temperature: float = Field(0.05, gt=0, description="softmax: of the scores")
    negatives: int = Field(1, ge=0, description="hard negatives a query")

    def start(self, data: SearchData, seed: int) -> Model:
        if self.objective == "orthogonal" and not self.negatives:
            raise UserError("m2-bert-loco: objective=orthogonal learns from a query's own negatives; set negatives=8")
        if self.objective == "softmax" and self.batch + self.negatives < 2:
            raise UserError("m2-bert-loco: a batch of one has no other document; set negatives=1 or batch=2")
        return SearchSystem.start(replace(self, backbone=self.chosen), data, seed)

    def check(self) -> None:
        backbones.check(self.chosen, self.longest, self.batch * self.longest)

    @property
    def chosen(self) -> Backbone:
        """The backbone that was asked for, or its own layers."""
        return self.backbone if self.backbone is not None else self.pattern()

    def pattern(self) -> dict[str, Any]:
        """The layers, as plain data."""
        channel = {"kind": "ffn", "activation": "gelu", "gate": True, "linear": f"blockdiagonal({self.blocks})"}
        mixer = {"kind": "monarch-conv", "length": self.longest}
        layer = {"mixer": mixer, "channel": channel, "times": self.layers}
        return {"dim": self.dim, "norm": "layer", "position": "learned", "layers": [layer]}

    def head(self, backbone: SequenceModel) -> TextEncoder:
        return TextEncoder(backbone, Mean(), normalise=True)

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], Any]:
        hard_after = 0.0 if self.negatives else 1.0
        made = PairBatches(self, model, data, seed, hard_after=hard_after, hard=max(1, self.negatives))
        longest = int((made.documents.lengths >= self.document_tokens).sum())
        if longest:
            warnings.warn(
                f"{longest:,} of {len(made.documents.lengths):,} training documents fill all {self.document_tokens} "
                "tokens and may be cut there; raise document_tokens",
                stacklevel=2,
            )
        return made

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Softmax over the batch, or each query's own cosines (section 4.3)."""
        assert isinstance(net, TextEncoder)
        queries, documents = batch.queries.embed(net), batch.documents.embed(net)
        if self.objective == "orthogonal":
            return orthogonal(queries, documents, batch.owners)
        return info_nce(
            queries,
            documents,
            self.temperature,
            two_way=False,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
        )

    def small(self) -> Self:
        small: Any = super().small()
        return cast(Self, replace(small, backbone=None, dim=32, layers=1, document_tokens=16))

    claim: ClassVar[Claim] = Claim(
        says="one vector of the whole document finds evidence that is spread over it more often than the best of its "
        "chunks does",
        paper="an M2-BERT of 80M weights at 32k tokens is 23.3 points or more of nDCG@10 on LoCo above transformers of "
        "up to 90 times its size",
        arms=(
            Arm("chunks", backbone="encoder-2x64", chunk=128, **SMALL),
            Arm("m2-bert-loco", **SMALL),
        ),
        data="spread",
        metric="ndcg@10",
        by=0.05,
        budget=Steps(150),
        side=(Arm("bm25"),),
        tune={"lr": (1e-3, 3e-3, 1e-2)},
        minutes=5,
    )


def extend_positions(model: EncoderModel, length: int) -> EncoderModel:
    """A copy that reads documents of `length` tokens, its positions repeated from the first on.

    Raises:
        UserError: it learns no positions, or reads as much already.
    """
    other = model.copy()
    embedding = other.net.tower("document").model.embedding
    if not isinstance(embedding, TokenEmbedding) or not isinstance(embedding.position, Learned):
        raise UserError(f"{model.name} has no learned positions to repeat; set document_tokens instead")
    old = embedding.position
    reads = len(old.weight)
    if length <= reads:
        raise UserError(f"{model.name} reads {reads} tokens already; give a length above that")
    embedding.position = Learned(length, old.dim)
    with torch.no_grad():
        embedding.position.weight.copy_(old.weight[torch.arange(length) % reads])
    other.spec["document_tokens"] = length
    return other
