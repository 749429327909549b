"""pixel-mlp: a network with one hidden layer on the pixels of an image; it answers by its head, or by neighbours.

Rumelhart, Hinton & Williams 1986, https://doi.org/10.1038/323533a0; Pearson 1901 for principal components,
https://doi.org/10.1080/14786440109462720; Cover & Hart 1967 for neighbours, https://doi.org/10.1109/TIT.1967.1053964
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field

from twofold import computing
from twofold.catalog import Budget, baseline
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Headed, Part, SequenceHead, principal
from twofold.tasks import Fitted, Model, TrainedSystem
from twofold.tasks.classify import ClassifyData, ClassifyModel, settings
from twofold.tasks.classify.knowing import Distance, neighbours
from twofold.tasks.classify.system import LabelledBatch, LabelledBatches, perceptron, training_store
from twofold.training import Recipe


@baseline(
    "pixel-mlp",
    title="Learning representations by back-propagating errors",
    tasks=("classify",),
    source="https://doi.org/10.1038/323533a0",
    needs=("classify small images with a small network", "multilayer perceptron", "embeddings cut by PCA"),
)
class PixelMlp(TrainedSystem):
    """Multilayer perceptron on pixels."""

    reads: ClassVar[tuple[str, ...]] = ("image",)

    hidden: int = Field(256, ge=1, description="width of the hidden layer")
    dim: int = Field(64, ge=1, description="width of the embedding below the head")
    answer: Literal["head", "neighbours"] = Field(
        "head", description="the trained head, or the class of the nearest training image by embedding"
    )
    components: int | None = Field(None, ge=1, description="neighbours: principal components; default: whole vectors")
    distance: Distance = Field("cosine", description="neighbours: how embeddings are compared")
    examples: int | None = Field(
        None, ge=1, description="learn from so many examples, drawn by the seed; none: from all"
    )
    batch: int = Field(64, ge=1, description="images in a batch")
    lr: float = Field(3e-3, gt=0, description="highest learning rate")

    def start(self, data: ClassifyData, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        if self.components is not None and (self.components > self.dim or self.answer == "head"):
            raise UserError(
                f"pixel-mlp: components={self.components} needs answer=neighbours and a dim of at least as much "
                f"(now {self.dim})"
            )
        reader, encoder = perceptron(data, self.hidden, self.dim, seed)
        net = Headed(encoder, SequenceHead(self.dim, data.target.outputs))
        return ClassifyModel(net, None, settings(data.target, reader))

    def batches(self, model: Model, data: ClassifyData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, ClassifyModel)
        return LabelledBatches(training_store(model, data), data, self.batch, seed)

    def loss(self, net: Part, batch: LabelledBatch) -> Loss:
        return batch.target.loss(batch.inputs.embed(net), batch.values)  # type: ignore[arg-type]

    def fit(
        self,
        data: ClassifyData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        data = data if self.examples is None else data.few(self.examples, seed)
        fitted = super().fit(data, budget, seed=seed, folder=folder, until=until)
        if self.answer == "neighbours":
            model = fitted.model
            assert isinstance(model, ClassifyModel)
            assert isinstance(model.net, Headed)
            images, values = data.part("train")
            model.net.head = cut_by_components(torch.from_numpy(model.embed(images)), values, data, self)
        return fitted

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, hidden=16, batch=16, examples=None)  # type: ignore[type-var]


def cut_by_components(vectors: torch.Tensor, values: Any, data: ClassifyData, given: PixelMlp) -> Part:
    """Neighbours among the training vectors, in principal components that were found on these alone."""
    if given.components is None:
        return neighbours(vectors, values, data.target, 1, given.distance)
    cut = principal(vectors, given.components)
    with torch.no_grad():
        return Headed(cut, neighbours(cut(vectors), values, data.target, 1, given.distance))
