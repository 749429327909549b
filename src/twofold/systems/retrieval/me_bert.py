"""ME-BERT: a document keeps its first few states as vectors, and its best one meets the query.

Luan et al. 2021, "Sparse, Dense, and Attentional Representations for Text Retrieval", https://arxiv.org/abs/2005.00181
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data import Rows
from twofold.objectives import Loss, info_nce
from twofold.parts import Cls, FirstOrLast, MaxOverVectors, Part, Projection, SequenceModel, TextEncoder, TwoTowers
from twofold.systems.retrieval.me_bert_study import study
from twofold.tasks import Analysis, Model, Report
from twofold.tasks.search import PairBatch, PairBatches, SearchData, SearchSystem

SMALL: dict[str, Any] = {
    "backbone": "tiny-encoder-concepts",
    "width": 32,
    "query_tokens": 8,
    "document_tokens": 136,
    "batch": 16,
}


@system(
    "me-bert",
    number=187,
    title="Sparse, Dense, and Attentional Representations for Text Retrieval",
    tasks=("search",),
    source="https://arxiv.org/abs/2005.00181",
    year=2021,
    needs=(
        "search long documents",
        "several vectors for a document, one for a query",
        "how wide must embeddings be for my documents",
    ),
    simplified=(
        "hard negatives are BM25's, found once, in place of rounds of the model's own",
        "the hybrid with BM25 is a function of two rankings; its weight is not searched for",
    ),
)
class MeBert(SearchSystem, Analysis):
    """A document is the vectors of its first tokens, a query one; the score is the best product."""

    by_name: ClassVar[bool] = True

    vectors: int = Field(8, ge=1, le=64, description="of a document (paper: 3 to 8); 1: a dual encoder")
    width: int | None = Field(None, ge=1, description="of all vectors; by default the backbone's")
    negatives: int = Field(1, ge=0, description="hard negatives a query, beside the other documents of the batch")
    error: float = Field(0.05, gt=0, lt=1, description="study: pairs that a random projection may put in wrong order")

    def head(self, backbone: SequenceModel) -> TwoTowers:
        """One encoder for both sides, read in two ways."""
        project = Projection(backbone.dim, self.width) if self.width is not None else None
        query = TextEncoder(backbone, Cls(), project, normalise=False)
        document = TextEncoder(backbone, FirstOrLast(self.vectors), project, normalise=False)
        return TwoTowers(query, document, MaxOverVectors())

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PairBatch]:
        return PairBatches(
            self, model, data, seed, hard_after=0.0 if self.negatives else 1.0, hard=max(1, self.negatives)
        )

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Cross-entropy over the documents of the batch (section 5)."""
        assert isinstance(net, TwoTowers)
        return info_nce(
            batch.queries.embed(net.query),
            batch.documents.embed(net.document),
            1.0,
            two_way=False,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
            score=net.score,
        )

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """How wide vectors must be for documents of a length, by the theory and exactly (sections 2 and 3)."""
        return study(rows, self.error, seed)

    claim: ClassVar[Claim] = Claim(
        says="eight vectors a document rank long documents better than one of the same width",
        paper="MRR@10 on MS MARCO passages: one vector 0.302, several 0.334, with BM25 0.343",
        arms=(Arm("me-bert", vectors=1, **SMALL), Arm("me-bert", vectors=8, **SMALL)),
        data="concepts",
        metric="mrr@10",
        by=0.03,
        budget=Steps(300),
        side=(Arm("bm25"),),
        tune={"lr": (2e-4, 5e-4, 1e-3)},
        minutes=4,
    )
