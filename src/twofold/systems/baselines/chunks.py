"""chunks: long documents in pieces that a short encoder reads, the best of which meets the query.

Dai & Callan 2019, "Deeper Text Understanding for IR with Contextual Neural Language Modeling",
https://arxiv.org/abs/1905.09217
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field

from twofold.catalog import baseline
from twofold.objectives import Loss, info_nce
from twofold.parts import ChunkedEncoder, MaxOverVectors, Mean, Part, SequenceModel, TextEncoder, TwoTowers
from twofold.tasks import Model
from twofold.tasks.options import Backbone
from twofold.tasks.search import PairBatch, PairBatches, SearchData, SearchSystem


@baseline(
    "chunks",
    title="Deeper Text Understanding for IR with Contextual Neural Language Modeling",
    tasks=("search",),
    source="https://arxiv.org/abs/1905.09217",
    needs=("search long documents with a short encoder", "passages of a document, best passage"),
)
class Chunks(SearchSystem):
    """Dual encoder that reads documents in chunks; the best chunk is the document's score."""

    by_name: ClassVar[bool] = True

    backbone: Backbone = Field(
        "encoder-2x64", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    tune_layers: int = Field(0, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    document_tokens: int = Field(512, ge=2, le=32768, description="documents are cut here")
    chunk: int = Field(128, ge=2, le=8192, description="tokens of a chunk")
    batch: int = Field(8, ge=2, description="pairs in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    temperature: float = Field(0.05, gt=0, description="of the softmax over the batch's documents")
    negatives: int = Field(1, ge=0, description="hard negatives a query, beside the other documents of the batch")

    @property
    def longest(self) -> int:
        return max(self.query_tokens, self.chunk)

    def head(self, backbone: SequenceModel) -> TwoTowers:
        one = TextEncoder(backbone, Mean(), normalise=True)
        return TwoTowers(one, ChunkedEncoder(one, self.chunk), MaxOverVectors())

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], Any]:
        hard_after = 0.0 if self.negatives else 1.0
        return PairBatches(self, model, data, seed, hard_after=hard_after, hard=max(1, self.negatives))

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Cross-entropy over the documents of the batch."""
        assert isinstance(net, TwoTowers)
        return info_nce(
            batch.queries.embed(net.query),
            batch.documents.embed(net.document),
            self.temperature,
            two_way=False,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
            score=net.score,
        )
