"""vit: a vision transformer of plain blocks on patches of small images.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
https://arxiv.org/abs/2010.11929
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import Field

from twofold import computing
from twofold.catalog import baseline
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Part, Pattern
from twofold.tasks import Model, TrainedSystem
from twofold.tasks.classify import ClassifyData, ClassifyModel
from twofold.tasks.classify.system import LabelledBatch, LabelledBatches, patch_classifier, training_store
from twofold.training import Recipe


@baseline(
    "vit",
    title="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
    tasks=("classify",),
    source="https://arxiv.org/abs/2010.11929",
    needs=("classify small images with attention", "vision transformer"),
)
class Vit(TrainedSystem):
    """Vision transformer: attention over the patches of an image."""

    reads: ClassVar[tuple[str, ...]] = ("image",)

    patch: int = Field(2, ge=1, description="side of a patch in pixels; it divides both sides of an image")
    dim: int = Field(64, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    batch: int = Field(64, ge=1, description="images in a batch")
    lr: float = Field(2e-3, gt=0, description="highest learning rate")

    def pattern(self) -> Pattern:
        """Attention and a feed-forward part of four times the width, with layer norms."""
        layer = {"channel": "gelu", "position": "none", "times": self.layers}
        return Pattern.read([layer], dim=self.dim, heads=self.heads, norm="layer")

    def start(self, data: ClassifyData, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        return patch_classifier(data, self.pattern(), self.patch, seed)

    def batches(self, model: Model, data: ClassifyData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, ClassifyModel)
        return LabelledBatches(training_store(model, data), data, self.batch, seed)

    def loss(self, net: Part, batch: LabelledBatch) -> Loss:
        return batch.target.loss(batch.inputs.embed(net), batch.values)  # type: ignore[arg-type]

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, dim=8 * self.heads, layers=2, batch=16)  # type: ignore[type-var]
