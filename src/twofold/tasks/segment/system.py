"""Systems that learn what every pixel is. A system adds its network, and what it learns beside the labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field, NonNegativeFloat
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.errors import UserError, unknown
from twofold.objectives import Loss
from twofold.parts import Part
from twofold.tasks.model import Model
from twofold.tasks.segment.data import SegmentBatch, SegmentBatches, SegmentData, Targets
from twofold.tasks.segment.model import SegmentModel, settings
from twofold.tasks.system import TrainedSystem
from twofold.training import Recipe


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SegmentSystem(TrainedSystem):
    """What every learner of pixels is told."""

    reads: ClassVar[tuple[str, ...]] = ("image",)

    weights: dict[str, NonNegativeFloat] | None = Field(
        None, description="how much the loss of each target counts, such as depth=0.5; 1 where none is said"
    )
    batch: int = Field(16, ge=1, description="images in a batch")
    lr: float = Field(1e-2, gt=0, description="highest learning rate")

    @abstractmethod
    def network(self, shape: tuple[int, int, int], targets: Targets) -> Part:
        """A network with fresh weights for images of (height, width, channels); see `SegmentModel`."""

    def start(self, data: SegmentData, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        for name in self.weights or ():
            if name not in data.targets:
                raise unknown(f"target of {data.name}", name, data.targets)
        torch.manual_seed(seed)
        return SegmentModel(self.network(data.shape, data.targets), None, settings(data.targets, data.shape))

    def batches(self, model: Model, data: SegmentData, seed: int) -> Callable[[int, float], Any]:
        return SegmentBatches.of(data, self.batch, seed)

    def loss(self, net: Part, batch: SegmentBatch) -> Loss:
        return self.joint(net(batch.images), batch)

    def joint(self, made: dict[str, torch.Tensor], batch: SegmentBatch) -> Loss:
        """The weighted sum of the targets' losses, and each as a figure."""
        each = {name: target.loss(made[name], batch.values[name]).value for name, target in batch.targets.items()}
        value = torch.stack([(self.weights or {}).get(name, 1.0) * own for name, own in each.items()]).sum()
        return Loss(value, {"loss": value.detach()} | {name: own.detach() for name, own in each.items()})

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())
