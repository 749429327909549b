"""SPLADE++: sparse vectors over the vocabulary, learned from a teacher's margins on hard negatives.

Formal et al. 2022, "From Distillation to Hard Negative Sampling: Making Sparse Neural IR Models More Effective",
https://arxiv.org/abs/2205.04733
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.tokenizers import Tokenizer
from twofold.data.tokenizers.base import ROLES
from twofold.errors import UserError
from twofold.objectives import Loss, flops, info_nce, quadratic, ranking
from twofold.parts import MaxTerms, MLMHead, Part, SequenceModel, SparseEncoder, TiedHead
from twofold.tasks import Model, backbones
from twofold.tasks.options import Backbone
from twofold.tasks.search import PairBatch, PairBatches, SearchData, SearchSystem
from twofold.tasks.search.mining import Teacher, mine, searcher


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
        "its word embeddings and whose transform starts as the identity",
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
    flops_weight: float = Field(1e-3, ge=0, description="of the sparsity of documents, once it has risen")
    query_ratio: float = Field(3.0, ge=0, description="the queries' sparsity counts so many times as much")
    warmup: float = Field(1 / 3, ge=0, le=1, description="share of the budget in which the sparsity's weight rises")
    query_terms: int | None = Field(None, ge=1, description="only so many of a query's heaviest terms are used")
    document_terms: int | None = Field(None, ge=1, description="only so many of a document's heaviest are indexed")

    def start(self, data: SearchData, seed: int) -> Model:
        model = super().start(data, seed)
        model.spec |= {"query_terms": self.query_terms, "document_terms": self.document_terms}
        return model

    def network(self, chosen: backbones.Chosen) -> SparseEncoder:
        """The backbone with a head over its vocabulary; tokens with a role neither speak nor are spoken of."""
        backbone, tokenizer = chosen.model, chosen.tokenizer
        model = SequenceModel(backbone.embedding, backbone.stack, head(chosen))
        silent = sorted({id for id in (getattr(tokenizer, role) for role in ROLES) if id is not None})
        return SparseEncoder(model, MaxTerms(), silent, *around(tokenizer))

    def small(self) -> Self:
        small: Any = super().small()
        return cast(Self, replace(small, teacher="bm25", teacher_scale=1.0))

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], TaughtBatch]:
        """Pairs with one hard negative a query, and what the teacher says of them."""
        finders = [searcher(name.strip(), model.spec) for name in self.negatives.split("+")]
        mined = mine(data, 1, finders)
        pairs = PairBatches(self, model, data, seed, hard_after=0.0, hard=mined)
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
        sparsity = self.query_ratio * flops(queries) + flops(documents)
        terms = {
            "query_terms": (queries.detach() > 0).sum(1).float().mean(),
            "document_terms": (documents.detach() > 0).sum(1).float().mean(),
        }
        value = rank.value + batch.pressure * self.flops_weight * sparsity
        return Loss(value, {**rank.figures, "loss": value.detach(), "ranking": rank.value.detach(), **terms})

    claim: ClassVar[Claim] = Claim(
        says="learning a teacher's margins ranks better than learning from the batch, at equal numbers of terms",
        paper="MRR@10 on MS MARCO 0.340 (SPLADE-max) to 0.380 (distilled, ensemble of negatives, coCondenser)",
        arms=(
            Arm("splade-plus", supervision="in-batch", backbone="tiny-encoder-2", query_terms=16, document_terms=64),
            Arm("splade-plus", supervision="distilled", backbone="tiny-encoder-2", query_terms=16, document_terms=64),
        ),
        data="pydoc",
        metric="mrr@10",
        by=0.01,
        budget=Steps(200),
        side=(Arm("bm25"),),
        tune={"flops_weight": (1e-4, 1e-3, 1e-2), "lr": (2e-4, 5e-4, 1e-3)},
        minutes=15,
    )


def head(chosen: backbones.Chosen) -> Part:
    """The masked-language-model head that the backbone was trained with, or a tied one to begin from.

    The latter starts near lexical search: a token speaks loudest for itself, and few other terms are above 0.
    """
    known = chosen.head
    if isinstance(known, TiedHead) and known.bias is None:
        return TiedHead(chosen.model.vocab, bias=True)  # the same logits; a bias lets a term fall silent
    if known is not None:
        return known
    made = MLMHead(chosen.model.dim, chosen.model.vocab)
    with torch.no_grad():
        nn.init.eye_(made.transform.weight)
        nn.init.zeros_(made.transform.bias)
        nn.init.constant_(made.bias, -3.0)
    return made


def around(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many tokens with a role stand before and after every text."""
    whole, bare = (tokenizer.encode(["a"], specials=kept)[0] for kept in (True, False))
    before = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return before, len(whole) - len(bare) - before


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
