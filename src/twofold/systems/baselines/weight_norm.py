"""Weight norm: feed-forward neurons cut by the size of their weights, the plain rival of every pruning method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twofold.catalog import baseline
from twofold.parts import Part
from twofold.surgery import Neurons
from twofold.tasks.shrink import Calibration, NeuronPruning


@baseline(
    "weight-norm",
    title="Pruning by weight norm",
    tasks=("search", "language"),
    needs=("shrink a model without data", "magnitude pruning of neurons"),
)
class WeightNorm(NeuronPruning):
    """Cuts the feed-forward neurons with the smallest weights; needs no data but for counting operations."""

    def scores(self, net: Part, neurons: Sequence[Neurons], calibration: Calibration) -> list[np.ndarray]:
        """The L2 norm of all weights that a neuron reads and writes with."""
        return [
            np.sqrt((u.incoming.square().sum(1) + u.outgoing.square().sum(1)).double().cpu().numpy()) for u in neurons
        ]
