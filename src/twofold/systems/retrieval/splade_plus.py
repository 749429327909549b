"""SPLADE++: sparse vectors over the vocabulary, learned from a teacher's margins on hard negatives.

Formal et al. 2022, "From Distillation to Hard Negative Sampling: Making Sparse Neural IR Models More Effective",
https://arxiv.org/abs/2205.04733
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss, info_nce, quadratic, ranking
from twofold.parts import MaxTerms, Part, SequenceModel, SparseEncoder
from twofold.tasks import Model, backbones
from twofold.tasks.options import Backbone
from twofold.tasks.search import EncoderModel, PairBatch, PairBatches, SearchData, SearchSystem
from twofold.tasks.search.mining import Teacher, mine, searcher
from twofold.tasks.search.terms import around, head, settle, silent_tokens, with_sparsity


@dataclass(frozen=True)
class TaughtBatch:
    """Pairs and their hard negatives, with the teacher's margin between each query's document and the negative.

    Attributes:
        margins: one for each hard negative; empty without a teacher.
        pressure: how much the sparsity counts by now, 0 to 1.
    """

    pairs: PairBatch
    margins: Float[Tensor, "negatives"]
    pressure: float

    @property
    def tokens(self) -> int:
        return self.pairs.tokens

    def shard(self, rank: int, world: int) -> TaughtBatch:
        """One process's share."""
        mine = torch.isin(self.pairs.owners, torch.arange(len(self.pairs.query_ids)).tensor_split(world)[rank])
        return TaughtBatch(self.pairs.shard(rank, world), self.margins[mine[: len(self.margins)]], self.pressure)

    def to(self, device: torch.device) -> TaughtBatch:
        """The same on another device."""
        return TaughtBatch(self.pairs.to(device), self.margins.to(device), self.pressure)


# Both arms of the claim.
SMALL: dict[str, Any] = {
    "backbone": "tiny-encoder-2",
    "document_tokens": 48,
    "batch": 16,
    "query_terms": 16,
    "document_terms": 64,
}


class Drawn(PairBatches):
    """Pairs, each with one of its query's hard negatives, drawn anew at every step."""

    def wrong(self, queries: np.ndarray, step: int, progress: float) -> list[np.ndarray]:
        random = np.random.default_rng((self.seed, step))
        return [random.permutation(found)[:1] for found in super().wrong(queries, step, progress)]


@system(
    "splade-plus",
    number=253,
    title="From Distillation to Hard Negative Sampling: Making Sparse Neural IR Models More Effective",
    tasks=("search",),
    source="https://arxiv.org/abs/2205.04733",
    year=2022,
    needs=(
        "sparse retrieval that expands text",
        "search with an inverted index, but by meaning",
        "see which terms a document was found by",
        "learn from a teacher and hard negatives",
    ),
    simplified=(
        "a backbone that was trained without a masked-language-model head (a preset, minilm) gets one that is tied to "
        "its word embeddings and whose transform starts as the identity; a bias that no training has set starts at "
        "what lets a text say a stated number of terms, and every term be said equally often (`start_terms`)",
        "the teacher is a search model's scores (by default minilm's cosines, times 20), in place of a cross-encoder's",
        "texts of tens of tokens and batches of tens",
    ),
)
class SpladePlus(SearchSystem):
    """Sparse vectors over the vocabulary: searched like words, weighted and expanded by a language model.

    The paper's recipes: (a) `supervision=in-batch`; (b) `supervision=distilled`; (c) distilled, with `negatives` a
    model that (b) made; (d) distilled, with several models in `negatives`; (e) any of them with a `backbone` that was
    trained to retrieve.
    """

    backbone: Backbone = Field(
        "bert-2x128", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    document_tokens: int = Field(64, ge=2, le=512, description="documents are cut here")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    supervision: Literal["in-batch", "distilled"] = Field(
        "distilled", description="softmax over the batch and a hard negative, or a teacher's margins"
    )
    teacher: str = Field("minilm", description="whose margins are learned: minilm, bm25 or a folder of a search model")
    teacher_scale: float = Field(20.0, gt=0, description="what the teacher's scores are multiplied by")
    negatives: str = Field("bm25", description="who finds hard negatives: bm25, minilm or model folders, joined by +")
    kept: int = Field(10, ge=1, description="hard negatives that are kept of a query; each step draws one of them")
    flops_weight: float = Field(1e-3, ge=0, description="of the sparsity of documents, once it has risen")
    query_ratio: float = Field(3.0, ge=0, description="the queries' sparsity counts so many times as much")
    warmup: float = Field(1 / 3, ge=0, le=1, description="share of the budget in which the sparsity's weight rises")
    start_terms: int | None = Field(
        100, ge=1, description="a head without a trained bias starts with so many terms a text; none: as it is"
    )
    count_roles: bool = Field(
        False, description="logits of tokens with a role count too, as in sentence-transformers, which export needs"
    )
    query_terms: int | None = Field(None, ge=1, description="only so many of a query's heaviest terms are used")
    document_terms: int | None = Field(None, ge=1, description="only so many of a document's heaviest are indexed")

    def start(self, data: SearchData, seed: int) -> Model:
        model = super().start(data, seed)
        assert isinstance(model, EncoderModel)
        if self.start_terms is not None:
            settle(model, data, self.start_terms)
        model.spec |= {"query_terms": self.query_terms, "document_terms": self.document_terms}
        return model

    def network(self, chosen: backbones.Chosen) -> SparseEncoder:
        """The backbone with a head over its vocabulary; tokens with a role neither speak nor are spoken of."""
        backbone, tokenizer = chosen.model, chosen.tokenizer
        model = SequenceModel(backbone.embedding, backbone.stack, head(chosen))
        apart = (0, 0) if self.count_roles else around(tokenizer)
        return SparseEncoder(model, MaxTerms(), silent_tokens(tokenizer), *apart)

    def small(self) -> Self:
        small: Any = super().small()
        return cast(Self, replace(small, teacher="bm25", teacher_scale=1.0))

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], TaughtBatch]:
        """Pairs with one hard negative a query, drawn at each step, and what the teacher says of them."""
        finders = [searcher(name.strip(), model.spec) for name in self.negatives.split("+")]
        mined = mine(data, self.kept, finders)
        pairs = Drawn(self, model, data, seed, hard_after=0.0, hard=mined)
        teacher = None
        if self.supervision == "distilled":
            teacher = Teacher(self.teacher, model.spec, data, mined, self.teacher_scale)

        def batch(step: int, progress: float) -> TaughtBatch:
            made = pairs(step, progress)
            margins = torch.zeros(0) if teacher is None else taught(teacher, made)
            return TaughtBatch(made, margins, quadratic(progress, self.warmup))

        return batch

    def loss(self, net: Part, batch: TaughtBatch) -> Loss:
        """Ranking, and the sparsity of both sides (section 2.1)."""
        assert isinstance(net, SparseEncoder)
        pairs = batch.pairs
        queries, documents = pairs.queries.embed(net), pairs.documents.embed(net)
        if not documents.any() and batch.pressure > 0:
            raise UserError(
                f"splade-plus: no term is left in any document; lower flops_weight (now {self.flops_weight:g}) or let "
                f"it rise for longer (warmup, now {self.warmup:g})"
            )
        if self.supervision == "distilled":
            rank = ranking.margin_mse(*margin_scores(queries, documents, pairs.owners), batch.margins)
        else:
            rank = info_nce(
                queries, documents, 1.0, two_way=False, query_ids=pairs.query_ids, document_ids=pairs.document_ids
            )
        return with_sparsity(rank, queries, documents, batch.pressure * self.flops_weight, self.query_ratio)

    claim: ClassVar[Claim] = Claim(
        says="learning a teacher's margins ranks better than learning from the batch, both cut to as many terms",
        paper="MRR@10 on MS MARCO 0.340 (SPLADE-max) to 0.380 (distilled, ensemble of negatives, coCondenser)",
        arms=(
            Arm("splade-plus", supervision="in-batch", **SMALL),
            Arm("splade-plus", supervision="distilled", **SMALL),
        ),
        data="pydoc",
        metric="mrr@10",
        by=0.01,
        budget=Steps(200),
        side=(Arm("bm25"),),
        tune={"lr": (1e-4, 3e-4, 1e-3), "flops_weight": (3e-4, 1e-3, 3e-3)},
        trial={"batch": 8},
        minutes=9,
    )


def taught(teacher: Teacher, batch: PairBatch) -> Float[Tensor, "negatives"]:
    """The teacher's score of each query's document minus that of its hard negative."""
    queries = batch.query_ids[batch.owners].tolist()
    positive = teacher.scores(queries, batch.document_ids[batch.owners].tolist())
    return torch.from_numpy(positive - teacher.scores(queries, batch.document_ids[len(batch.query_ids) :].tolist()))


def margin_scores(
    queries: Float[Tensor, "batch vocab"], documents: Float[Tensor, "candidates vocab"], owners: Tensor
) -> tuple[Float[Tensor, "negatives"], Float[Tensor, "negatives"]]:
    """The scores of each hard negative's query with its own document, and with the negative."""
    asked = queries[owners]
    return (asked * documents[owners]).sum(1), (asked * documents[len(queries) :]).sum(1)
