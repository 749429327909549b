"""Sequences of real numbers in which some tokens ask for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from twofold.objectives import Loss
from twofold.objectives.loss import average
from twofold.parts import Mask, SequenceModel, reading_numbers
from twofold.tasks.solve.made import MadeData, MadeModel
from twofold.tasks.system import Table
from twofold.tasks.task import Evaluation


@dataclass(frozen=True)
class NumberBatch:
    """Values `[B, T, C]` and targets `[B, T]`; a target of NaN does not count."""

    values: Tensor
    targets: Tensor

    @property
    def tokens(self) -> int:
        return self.targets.numel()

    @property
    def rows(self) -> int:
        """Sequences."""
        return len(self.values)

    @property
    def given(self) -> Tensor:
        """What a network reads."""
        return self.values

    def shard(self, rank: int, world: int) -> NumberBatch:
        """One process's share."""
        return NumberBatch(self.values[rank::world], self.targets[rank::world])

    def to(self, device: torch.device) -> NumberBatch:
        """The same on another device."""
        return NumberBatch(self.values.to(device), self.targets.to(device))

    def loss(self, net: nn.Module) -> Loss:
        """Squared error where a number is asked for; nothing is seen ahead."""
        counted = ~self.targets.isnan()
        said = net(self.values, Mask.causal())[..., 0][counted]
        value = average((said - self.targets[counted]).square())
        return Loss(value, {"loss": value.detach()})


@dataclass(frozen=True)
class NumberData(MadeData):
    """A kind of made sequence of numbers."""

    metric: ClassVar[str] = "r2"

    def batch(self, given: np.ndarray, answers: np.ndarray) -> NumberBatch:
        return NumberBatch(torch.from_numpy(given), torch.from_numpy(answers))

    def start(self, network: Callable[[int], SequenceModel]) -> NumberModel:
        net = reading_numbers(network(1), self.made.channels)
        return NumberModel(net, None, {"kind": "numbers", **self.settings()})

    def evaluate(self, model: NumberModel, part: str) -> Evaluation:
        """Mean squared error over all answers (`mse`), of a sequence's last (`mse_last`) and of each in turn; and `r2`:
        1 less the error in units of the targets' variance, 0 for the best constant."""
        batch = self.part(part)
        errors = model.errors(batch)  # every sequence of a kind asks at the same tokens
        asked = batch.targets[~batch.targets.isnan()].double().numpy()
        each = errors.mean(0)
        mse, scale = float(each.mean()), float(asked.var())
        figures = {"r2": 1 - mse / scale, "mse": mse, "mse_last": float(each[-1])}
        rows = tuple((before, float(error)) for before, error in enumerate(each))
        table = Table("mean squared error by answers asked before", ("before", "mse"), rows)
        return Evaluation(figures, 1 - errors.mean(1) / scale, (table,) if len(rows) > 1 else ())


class NumberModel(MadeModel):
    """A causal network that gives a number for every token."""

    @torch.inference_mode()
    def answer(self, given: Tensor) -> Tensor:
        """The number at every token: values `[B, T, C]` → `[B, T]`."""
        return torch.cat([self.outputs(part)[..., 0] for part in given.split(64)])

    def errors(self, given: NumberBatch) -> np.ndarray:
        """Squared error of each answer that is asked for, `[n, asked]`."""
        counted = ~given.targets.isnan()
        errors = (self.answer(given.values)[counted] - given.targets[counted]).square()
        return errors.reshape(len(counted), -1).numpy()
