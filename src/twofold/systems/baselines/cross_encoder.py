"""cross-encoder: query and document in one sequence, a linear head on a state, every pair judged by itself.

Nogueira & Cho 2019, "Passage Re-ranking with BERT", https://arxiv.org/abs/1901.04085
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from twofold.catalog import baseline
from twofold.data.tokenizers import Tokenizer
from twofold.objectives import Loss, ranking
from twofold.parts import Cls, HeadScorer, Last, Mean, Part, SequenceHead, SequenceModel
from twofold.tasks.search import ListBatch, RerankSystem

POOLS = {"mean": Mean, "first": Cls, "last": Last}


@baseline(
    "cross-encoder",
    title="Passage Re-ranking with BERT",
    tasks=("search",),
    source="https://arxiv.org/abs/1901.04085",
    needs=("rerank search results", "cross-encoder", "judge whether a document answers a query"),
)
class CrossEncoderBaseline(RerankSystem):
    """Cross-encoder whose linear head says of each pair whether the document answers."""

    pool: Literal["mean", "first", "last"] = Field("mean", description="the state that the head reads")
    positive_weight: float = Field(1.0, gt=0, description="how much an answer counts beside a wrong document")

    def network(self, backbone: SequenceModel, tokenizer: Tokenizer, head: Any) -> HeadScorer:
        return HeadScorer(backbone, POOLS[self.pool](), SequenceHead(backbone.dim, 1))

    def loss(self, net: Part, batch: ListBatch) -> Loss:
        """Cross-entropy of each pair."""
        assert isinstance(net, HeadScorer)
        scores = batch.table(net.scores(batch.pairs.embed(net)))
        return ranking.pointwise(scores, (batch.grades > 0).to(scores), batch.counted, self.positive_weight)
