"""static-margin: a dual encoder whose answers shall beat random documents by one and the same margin.

The static loss of Gienapp et al. 2024, https://arxiv.org/abs/2407.21515, section 3: what their margins are held
against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from twofold.catalog import baseline
from twofold.objectives import Loss, margins
from twofold.parts import Mean, Part, SequenceModel, TextEncoder
from twofold.tasks import Model
from twofold.tasks.search import PairBatch, SearchData, SearchSystem, Triples


@baseline(
    "static-margin",
    title="Learning Effective Representations for Retrieval Using Self-Distillation with Adaptive Relevance Margins",
    tasks=("search",),
    source="https://arxiv.org/abs/2407.21515",
    needs=("train an embedding model on triples", "triplet margin loss"),
)
class StaticMargin(SearchSystem):
    """Dual encoder trained to keep every answer one fixed margin of cosine above a random document."""

    by_name: ClassVar[bool] = True

    margin: float = Field(0.5, ge=0, le=2, description="by how much an answer's cosine shall be higher")
    error: Literal["squared", "absolute", "soft"] = Field("squared", description="how margins are held against it")
    in_batch: bool = Field(False, description="hold each query against the other triples' documents too")

    def head(self, backbone: SequenceModel) -> TextEncoder:
        return TextEncoder(backbone, Mean(), normalise=True)

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PairBatch]:
        return Triples(self, model, data, seed)

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Margins against the one target."""
        assert isinstance(net, TextEncoder)
        documents, count = batch.documents.embed(net), len(batch.query_ids)
        error = margins.ERRORS[self.error]
        queries, right, wrong = batch.queries.embed(net), documents[:count], documents[count:]
        return margins.static(queries, right, wrong, self.margin, error, self.in_batch)
