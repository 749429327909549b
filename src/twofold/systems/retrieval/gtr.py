"""GTR: one encoder for queries and documents, whose fixed-size vectors do not grow with the model.

Ni et al. 2022, "Large Dual Encoders Are Generalizable Retrievers", https://arxiv.org/abs/2112.07899
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss, info_nce
from twofold.parts import Mean, Part, Projection, SequenceModel, TextEncoder
from twofold.tasks import Model
from twofold.tasks.search import PairBatch, PairBatches, SearchData, SearchSystem


@system(
    "gtr",
    number=256,
    title="Large Dual Encoders Are Generalizable Retrievers",
    tasks=("search",),
    source="https://arxiv.org/abs/2112.07899",
    year=2022,
    needs=(
        "search by meaning",
        "semantic search over my documents or code",
        "find similar texts",
        "train an embedding model on question and answer pairs",
        "dense retrieval, bi-encoder, two-tower",
    ),
    simplified=(
        "AdamW in place of Adafactor, and batches of tens in place of 2,048",
        "a projection on a pretrained backbone starts as the identity, so that nothing is lost at the start",
        "both stages see the same pairs; the second adds BM25 negatives, in place of other, judged data",
    ),
)
class Gtr(SearchSystem):
    """Dual encoder: mean pooling, projection to a fixed width, dot product of unit vectors."""

    bottleneck: int | None = Field(None, ge=1, description="width of the vectors; by default the backbone's")
    projection: bool = Field(True, description="a linear map from the backbone's width to the bottleneck")
    temperature: float = Field(0.05, gt=0, description="of the softmax over the batch's documents (paper: 0.01)")
    judged: float = Field(0.25, ge=0, le=1, description="last share of the budget that is trained with hard negatives")
    negatives: int = Field(1, ge=1, description="hard negatives a query in that share")

    def head(self, backbone: SequenceModel) -> TextEncoder:
        width = self.bottleneck or backbone.dim
        if not self.projection and width != backbone.dim:
            raise UserError(
                f"gtr: bottleneck={width} differs from the width of {self.backbone} ({backbone.dim}) "
                "and projection is off; set projection=true or leave bottleneck out"
            )
        project = Projection(backbone.dim, width) if self.projection else None
        return TextEncoder(backbone, Mean(), project, normalise=True)

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PairBatch]:
        """Stage 1: weak pairs against the batch. Stage 2: the same with hard negatives."""
        return PairBatches(self, model, data, seed, hard_after=1 - self.judged, hard=self.negatives)

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Softmax over the batch in both directions (section 3.2): query to documents, and document to queries."""
        assert isinstance(net, TextEncoder)
        return info_nce(
            batch.queries.embed(net),
            batch.documents.embed(net),
            self.temperature,
            two_way=True,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
        )

    claim: ClassVar[Claim] = Claim(
        says="a bigger encoder with the same bottleneck ranks better, out of domain too",
        paper="mean nDCG@10 on BEIR 0.420 (Base, 110M) to 0.458 (XXL, 4.8B) at 768 dimensions",
        arms=(
            Arm("gtr", backbone="t5-1x64", bottleneck=64, document_tokens=64),
            Arm("gtr", backbone="t5-3x128", bottleneck=64, document_tokens=64),
        ),
        data="pydoc",
        metric="mrr@10",
        by=0.02,
        budget=Steps(400),
        tune={"lr": (1e-4, 2e-4, 5e-4, 1e-3)},
        minutes=5,
    )
