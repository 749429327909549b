"""Adaptive relevance margins: the encoder's own likeness of two documents says how far apart they shall be for a query.

Gienapp et al. 2024, "Learning Effective Representations for Retrieval Using Self-Distillation with Adaptive Relevance
Margins", https://arxiv.org/abs/2407.21515
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.objectives import Loss, margins
from twofold.parts import Mean, Part, SequenceModel, TextEncoder
from twofold.tasks import Model
from twofold.tasks.search import PairBatch, SearchData, SearchSystem, Triples

COLLAPSED = 0.95  # mean target above which all documents look alike
BENCH: dict[str, Any] = {"backbone": "tiny-encoder-2", "tune_layers": 0, "query_tokens": 16, "document_tokens": 32}


@system(
    "adaptive-margin",
    number=89,
    title="Learning Effective Representations for Retrieval Using Self-Distillation with Adaptive Relevance Margins",
    tasks=("search",),
    source="https://arxiv.org/abs/2407.21515",
    year=2024,
    needs=(
        "train an embedding model without a teacher",
        "train a dense retriever on triples with random negatives",
        "fine-tune minilm on my pairs without tuning a margin or temperature",
    ),
    simplified=(
        "a random negative is drawn anew at every step, in place of triples that were drawn once",
        "batches of tens, and the recipe that every system here is trained by",
    ),
)
class AdaptiveMargin(SearchSystem):
    """Dual encoder trained with margins that it sets itself: no teacher, no temperature, random negatives."""

    by_name: ClassVar[bool] = True

    targets: Literal["distributed", "adaptive"] = Field(
        "distributed",
        description="a margin is held against all documents' likenesses of the batch, or its own triple's",
    )
    error: Literal["squared", "absolute", "soft"] = Field("squared", description="how margins are held against targets")
    in_batch: bool = Field(False, description="with adaptive targets: hold each query against the other documents too")
    detach_target: bool = Field(False, description="let no gradient flow through the targets")

    def head(self, backbone: SequenceModel) -> TextEncoder:
        if self.in_batch and self.targets == "distributed":
            raise UserError(
                "adaptive-margin: distributed targets already speak of the whole batch; set targets=adaptive, or leave "
                "in_batch out"
            )
        return TextEncoder(backbone, Mean(), normalise=True)

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], PairBatch]:
        return Triples(self, model, data, seed)

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Margins against the likeness of answers and wrong documents (section 3)."""
        assert isinstance(net, TextEncoder)
        documents, count = batch.documents.embed(net), len(batch.query_ids)
        queries, right, wrong = batch.queries.embed(net), documents[:count], documents[count:]
        error = margins.ERRORS[self.error]
        if self.targets == "distributed":
            loss = margins.distributed(queries, right, wrong, error, self.detach_target)
        else:
            loss = margins.adaptive(queries, right, wrong, error, self.in_batch, self.detach_target)
        if loss.figures["target"] > COLLAPSED:
            warnings.warn(
                "the encoder makes nearly the same vector of every document, so that no margin is asked for; start "
                "from a pretrained backbone, or lower lr",
                stacklevel=2,
            )
        return loss

    claim: ClassVar[Claim] = Claim(
        says="margins that the encoder sets itself rank better than the best fixed margin",
        paper="as good as a teacher's margins with 13.5 % of the data, in a third to a fifteenth of the time",
        arms=(Arm("static-margin", **BENCH), Arm("adaptive-margin", **BENCH)),
        data="pydoc",
        metric="ndcg@10",
        by=0.01,
        budget=Steps(150),
        side=(
            Arm("adaptive-margin", targets="adaptive", **BENCH),
            Arm("adaptive-margin", **{**BENCH, "backbone": "encoder-2x128"}),
            Arm("bm25"),
        ),
        tune={"margin": (0.25, 0.5, 0.75, 1.0), "lr": (3e-5, 1e-4, 3e-4, 1e-3)},
        trial={"batch": 16},
        minutes=5,
    )
