"""Stationary representations: features that stay where they are while the model changes, so that galleries stay too.

Biondi et al. 2024, "Stationary Representations: Optimally Approximating Compatibility and Implications for Improved
Model Replacements", https://arxiv.org/abs/2405.02581
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, system
from twofold.objectives import Loss, aligned
from twofold.parts import Headed, Part, SimplexClassifier
from twofold.tasks.classify.system import LabelledBatch
from twofold.tasks.classify.updates import UpdatedClassifier


@system(
    "stationary-simplex",
    number=120,
    title="Stationary Representations: Optimally Approximating Compatibility and Implications for Improved "
    "Model Replacements",
    tasks=("classify",),
    source="https://arxiv.org/abs/2405.02581",
    year=2024,
    needs=(
        "update a retrieval model without re-encoding the gallery",
        "backward compatible embeddings",
        "replace a model by a better one and keep its index",
        "add classes to an image classifier",
        "can a new encoder search an old index",
    ),
    simplified=(
        "images are read by one hidden layer on their pixels, in place of a residual network",
        "the claim's better networks are wider and pretrained on turned and shifted digits, without labels",
    ),
)
class StationarySimplex(UpdatedClassifier):
    """Image classifier with fixed directions: its updates keep old features searchable; how compatible models are."""

    keep: float = Field(0.9, ge=0, lt=1, description="weight of staying near the older model's features (1 - λ)")
    scale: float = Field(10.0, gt=0, description="of the cosines there (μ)")

    def directions(self, used: int) -> SimplexClassifier:
        return SimplexClassifier(self.classes - 1, self.classes, used)

    def objective(self, net: Headed, old: Part | None, batch: LabelledBatch) -> Loss:
        """λ · cross-entropy + (1 − λ) · alignment with the older model; the first model has cross-entropy alone."""
        features = batch.inputs.embed(net.encoder)  # type: ignore[arg-type]
        told = self.classified(net, features, batch.values)
        if old is None or not self.keep:
            return told
        with torch.no_grad():
            before = batch.inputs.embed(old)  # type: ignore[arg-type]
        near = aligned(features, before, batch.values, self.scale)
        value = (1 - self.keep) * told.value + self.keep * near.value
        return Loss(value, {**told.figures, "loss": value.detach(), "cosine": near.figures["cosine"]})

    claim: ClassVar[Claim] = Claim(
        says="with fixed directions and features held to the older model's, newer models do better on older galleries "
        "than the older models in more pairs than with trained directions, while networks are replaced",
        paper="compatibility and accuracy above all rivals with sequential fine-tuning and replacements by better "
        "pretrained models, on CIFAR-100 and ImageNet splits",
        arms=(Arm("trainable-updates"), Arm("stationary-simplex")),
        data="digits",
        metric="compatibility",
        by=0.2,
        repeats=5,
        task="study",
        side=(Arm("stationary-simplex", keep=0.0), Arm("stationary-simplex", replaced=())),
        tune={"lr": (1e-3, 3e-3, 1e-2)},
        tune_by="mean_accuracy",
        minutes=2,
    )
