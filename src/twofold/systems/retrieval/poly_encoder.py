"""Poly-encoder: a context keeps several vectors, and each candidate chooses among them.

Humeau et al. 2020, "Poly-encoders: Transformer Architectures and Pre-training Strategies for Fast and Accurate
Multi-sentence Scoring", https://arxiv.org/abs/1905.01969
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.objectives import Loss, info_nce
from twofold.parts import (
    CandidateAttention,
    Cls,
    CodeAttention,
    FirstM,
    Mean,
    Part,
    Pool,
    Projection,
    SequenceModel,
    TextEncoder,
    TwoTowers,
)
from twofold.tasks import Model
from twofold.tasks.search import PairBatch, PairBatches, SearchData, SearchSystem

CODES: dict[str, Callable[[int, int], Pool]] = {"learned": CodeAttention, "first": lambda dim, count: FirstM(count)}
REDUCTIONS: dict[str, Callable[[], Pool]] = {"mean": Mean, "first": Cls}
# Both arms of the claim: vectors so narrow that one cannot hold eight statements.
SMALL: dict[str, Any] = {
    "backbone": "bert-2x64",
    "width": 32,
    "query_tokens": 36,
    "document_tokens": 8,
    "batch": 64,
    "negatives": 3,
}


@system(
    "poly-encoder",
    number=123,
    title="Poly-encoders: Transformer Architectures and Pre-training Strategies for Fast and Accurate "
    "Multi-sentence Scoring",
    tasks=("search",),
    source="https://arxiv.org/abs/1905.01969",
    year=2020,
    needs=(
        "choose the best reply to a conversation",
        "rerank candidates faster than a cross-encoder",
        "search with long queries or contexts",
        "several vectors for a query, one for a document",
    ),
    simplified=(
        "the backbone's own pretraining in place of pretraining on Reddit dialogue",
        "the layers that are trained are those of tune_layers, in place of all but the word embeddings",
        "no token types for speakers: a context is one text",
    ),
)
class PolyEncoder(SearchSystem):
    """A query keeps several vectors; a document, one vector computed once, attends over them."""

    codes: int = Field(16, ge=1, le=1024, description="vectors of a query (paper: 16, 64, 360); 1: a bi-encoder")
    code_kind: Literal["learned", "first"] = Field(
        "learned", description="learned codes that attend over the query, or its first tokens' states"
    )
    reduction: Literal["mean", "first"] = Field("mean", description="how a document's states become its vector")
    width: int | None = Field(None, ge=1, description="of all vectors; by default the backbone's")
    negatives: int = Field(0, ge=0, description="hard negatives a query, beside the other documents of the batch")

    def head(self, backbone: SequenceModel) -> TwoTowers:
        """Two encoders that start alike, so that shared words already mean something."""
        project = Projection(backbone.dim, self.width) if self.width is not None else None
        document = TextEncoder(backbone, REDUCTIONS[self.reduction](), project, normalise=False)
        query = copy.deepcopy(document)
        query.pool = CODES[self.code_kind](backbone.dim, self.codes)
        return TwoTowers(query, document, CandidateAttention())

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PairBatch]:
        return PairBatches(
            self, model, data, seed, hard_after=0.0 if self.negatives else 1.0, hard=max(1, self.negatives)
        )

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Each query against every document of the batch (section 4.4), scored with its own codes."""
        assert isinstance(net, TwoTowers)
        queries = batch.queries.embed(net.query)
        documents = batch.documents.embed(net.document)
        loss = info_nce(
            queries,
            documents,
            1.0,
            two_way=False,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
            score=net.score,
        )
        return Loss(loss.value, {**loss.figures, "code_cosine": likeness(queries.detach())})

    claim: ClassVar[Claim] = Claim(
        says="a context with 16 vectors finds its candidate more often than a context with one",
        paper="ConvAI2 R@1/20: bi-encoder 84.8, poly-encoder with 360 codes 86.8, cross-encoder 87.9",
        arms=(
            Arm("poly-encoder", codes=1, **SMALL),
            Arm("poly-encoder", codes=16, **SMALL),
        ),
        data="statements",
        metric="recall@1",
        by=0.03,
        budget=Steps(400),
        setting={"candidates": True},
        side=(
            Arm("poly-encoder", codes=4, **SMALL),
            Arm("poly-encoder", codes=64, **SMALL),
            Arm("poly-encoder", codes=16, code_kind="first", **SMALL),
            Arm("bm25"),
        ),
        tune={"lr": (5e-4, 1e-3, 2e-3)},
        minutes=4,
    )


def likeness(codes: Float[Tensor, "batch few dim"]) -> Float[Tensor, ""]:
    """Mean cosine between two vectors of one query: near 1 when all of them are the same one."""
    count = codes.shape[1]
    if count == 1:
        return codes.new_ones(())
    unit = F.normalize(codes, dim=-1)
    cosines = unit @ unit.mT
    return (cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)).mean() / (count * (count - 1))
