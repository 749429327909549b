"""Linear shortcuts: one matrix from an early layer's states to a later layer's, fitted by least squares.

Din et al. 2023, "Jump to Conclusions: Short-Cutting Transformers With Linear Transformations",
https://arxiv.org/abs/2303.09435
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from twofold import progress
from twofold.catalog import Arm, Claim, system
from twofold.surgery import LeastSquares, Recording, r_squared
from twofold.surgery.least_squares import named
from twofold.systems.inference.linear_submodules import submodules
from twofold.tasks import HeatMap, Report
from twofold.tasks.passages import Recorded, Subject
from twofold.tasks.readouts import Maps, ReadOutStudy, read_report

FILE = "shortcuts.safetensors"


def shortcuts(drawn: Recording, layers: Sequence[int], ridge: float | None) -> dict[tuple[int, int], Tensor]:
    """The map `[D, D]` from each layer to each later one: `states @ map` comes nearest to the later states.

    Args:
        drawn: states of `layers`, `[N, len(layers), D]`.
        ridge: as `LeastSquares` takes it.

    Raises:
        UserError: too few positions.
    """
    states = [torch.as_tensor(drawn.values[:, place]) for place in range(len(layers))]
    maps = {}
    with progress.stage("fit maps", total=len(layers) - 1) as stage:
        for place, layer in enumerate(layers[:-1]):
            fitted = LeastSquares(ridge)
            fitted.add(states[place], *states[place + 1 :])
            for later, found in zip(layers[place + 1 :], fitted.solve(), strict=True):
                maps[layer, later] = torch.from_numpy(found.astype(np.float32))
            stage.advance()
    return maps


@system(
    "linear-shortcuts",
    number=237,
    title="Jump to Conclusions: Short-Cutting Transformers With Linear Transformations",
    tasks=("accelerate", "explain"),
    source="https://arxiv.org/abs/2303.09435",
    year=2023,
    needs=(
        "skip layers of a language model",
        "early exit from a transformer",
        "how much do the later layers change",
        "what does an early layer predict",
        "read hidden states better than the logit lens",
    ),
    simplified=(
        "sixteen positions from each passage of 64 tokens in place of one from each sentence",
        "exits are taken along the whole model's own states: an exit does not change what later tokens see",
        "maps of sub-modules are fitted on all positions of as many passages as hold them, on at most six first layers",
    ),
)
class LinearShortcuts(ReadOutStudy):
    """Linear maps between layers: what they explain, what they predict, which layers and parts they can replace."""

    ridge: float | None = Field(None, ge=0, description="ridge of the maps, relative to each feature's mean square")
    parts: bool = Field(True, description="also replace attention, feed-forward parts and norms by linear maps")

    def report(self, who: Subject, pool: Recorded, fit: Recording, test: Recording) -> Report:
        layers, last = pool.layers, pool.layers[-1]
        maps = shortcuts(fit, layers, self.ridge)
        readers: dict[str, Maps] = {
            "linear map": {layer: maps[layer, last] for layer in layers[:-1]},
            "logit lens": dict.fromkeys(layers[:-1]),
        }
        made = read_report(who, layers, readers, test)
        found = submodules(who, pool, self.fit, self.ridge) if self.parts else Report({})
        return Report(
            made.figures | found.figures,
            made.tables + found.tables,
            (_pairs(maps, layers, test), *made.plots, *found.plots),
            tensors={FILE: named({pair: matrix for pair, matrix in maps.items() if pair[1] == last})},
        )

    claim: ClassVar[Claim] = Claim(
        says="a fitted linear map reads the final prediction off early layers better than the states as they are",
        paper="mat beats id at every layer of GPT-2 and BERT; 7.9 % and 5.4 % more layers saved at 95 % agreement",
        arms=(Arm("logit-lens", every=3), Arm("linear-shortcuts", every=3, parts=False)),
        data="pydoc",
        metric="precision_1",
        by=0.05,
        repeats=3,
        on="smollm2",
        side=(Arm("linear-shortcuts", every=3),),
        minutes=4,
    )


def _pairs(maps: Mapping[tuple[int, int], Tensor], layers: Sequence[int], test: Recording) -> HeatMap:
    """r² of every pair of layers, on test positions."""
    states = {layer: torch.as_tensor(test.values[:, place]) for place, layer in enumerate(layers)}
    values = tuple(
        tuple(r_squared(states[a] @ maps[a, b], states[b]) if (a, b) in maps else None for b in layers[1:])
        for a in layers[:-1]
    )
    title = "Variance of a later layer that a linear map of an earlier one explains (r²)"
    return HeatMap(title, "to layer", "from layer", tuple(map(str, layers[1:])), tuple(map(str, layers[:-1])), values)
