"""Weight norm: feed-forward neurons cut by the size of their weights, the plain rival of every pruning method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from twofold.catalog import baseline
from twofold.parts import Part
from twofold.surgery import Neurons
from twofold.tasks.shrink import Calibration, NeuronPruning


@baseline(
    "weight-norm",
    title="Pruning by weight norm",
    tasks=("search", "language"),
    needs=("shrink a model by the size of its weights", "magnitude pruning of neurons"),
)
class WeightNorm(NeuronPruning):
    """Cuts the feed-forward neurons with the smallest weights; reads texts only to know how long they are."""

    weights: Literal["outgoing", "incoming", "all"] = Field(
        "outgoing", description="those that are counted: the ones a neuron writes with, reads with, or all of them"
    )

    def scores(self, net: Part, neurons: Sequence[Neurons], calibration: Calibration) -> list[np.ndarray]:
        """The L2 norm of each neuron's weights."""
        return [np.sqrt(self._squares(unit).double().cpu().numpy()) for unit in neurons]

    def _squares(self, unit: Neurons) -> Tensor:
        sides = {"outgoing": (unit.outgoing,), "incoming": (unit.incoming,), "all": (unit.outgoing, unit.incoming)}
        return torch.cat(sides[self.weights], dim=1).square().sum(1)
