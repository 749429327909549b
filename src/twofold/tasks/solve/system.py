"""Systems that learn problems or labelled sequences and nothing else. A system adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.objectives import Loss
from twofold.parts import Part, SequenceModel
from twofold.tasks.model import Model
from twofold.tasks.solve.data import Packed, SolveData
from twofold.tasks.solve.labelled import LabelBatch
from twofold.tasks.solve.made import MadeData
from twofold.tasks.solve.model import SolveModel, solve_loss
from twofold.tasks.solve.numbers import NumberBatch
from twofold.tasks.system import BYTES, TrainedSystem, try_on_meta
from twofold.training import Recipe


def solver(network: Callable[[int], SequenceModel], data: SolveData | MadeData, seed: int) -> Model:
    """A model with fresh weights; `network(vocab)` makes its network."""
    torch.manual_seed(seed)
    if isinstance(data, MadeData):
        return data.start(network)
    return SolveModel(network(len(data.names)), None, {"names": list(data.names), "marker": data.marker})


def solver_batches(data: SolveData | MadeData, batch: int, seed: int) -> Callable[[int, float], Any]:
    """Batches of the training problems, packed, or of the made sequences."""
    if isinstance(data, MadeData):
        return data.batches(batch, seed)
    return Packed(data.train, min(batch, len(data.train)), seed)


def solver_loss(net: Part, batch: Any) -> Loss:
    """What the batch asks: answers, labels or numbers."""
    return batch.loss(net) if isinstance(batch, LabelBatch | NumberBatch) else solve_loss(net, batch)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SolveSystem(TrainedSystem):
    """What every solver is told: batches and the learning rate."""

    batch: int = Field(64, ge=1, description="sequences in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")

    @abstractmethod
    def network(self, vocab: int) -> SequenceModel:
        """The network, with fresh weights."""

    def check(self) -> None:
        try_on_meta(lambda: self.network(BYTES))

    def start(self, data: SolveData | MadeData, seed: int) -> Model:
        return solver(self.network, data, seed)

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        return solver_batches(data, self.batch, seed)

    def loss(self, net: Part, batch: Any) -> Loss:
        return solver_loss(net, batch)

    def small(self) -> Self:
        return replace(self, batch=min(self.batch, 16))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RecurrentSystem(SolveSystem):
    """Recurrent solvers: Adam at a constant rate without decay of weights, as such networks are trained."""

    clip: float = Field(1.0, ge=0, description="highest norm of the gradient; 0: no limit")

    def recipe(self) -> Recipe:
        return Recipe(
            lr=self.lr,
            warmup=0.0,
            final=1.0,
            weight_decay=0.0,
            betas=(0.9, 0.999),
            clip=self.clip,
            dtype=computing.dtype(),
        )
