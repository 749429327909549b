"""Linear maps fitted by least squares, from data that are seen once, a shard at a time.

min over A of Σ‖x A − y‖² has the normal equations XᵀX A = XᵀY. Both products are summed in float64, so the order of
shards does not matter, and nothing but they is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import linalg
from torch import Tensor

from twofold.checkpoints import tensors
from twofold.errors import UserError
from twofold.surgery.calibrate import Gram

STEADY = 1e-12
"""Ridge that is always there, for features that depend on one another."""


_NAME = re.compile(r"(\d+)\.to\.(\d+)")


class LeastSquares:
    """Accumulates inputs and targets, then gives the linear map without bias between them.

    Args:
        ridge: λ ≥ 0 of ridge regression, in units of each input feature's own mean square (so that features of very
            different size are held back alike); None: none, which needs enough positions.
    """

    def __init__(self, ridge: float | None = None) -> None:
        if ridge is not None and ridge < 0:
            raise UserError(f"ridge is {ridge}; it must be at least 0")
        self.ridge = ridge
        self._gram = Gram()
        self._cross: list[np.ndarray] = []

    @property
    def count(self) -> int:
        """Positions seen."""
        return self._gram.count

    def add(self, inputs: Tensor, *targets: Tensor) -> None:
        """Takes `[n, D]` inputs and, for each map that is wanted from them, `[n, M]` targets."""
        self._gram.add(inputs)
        x = inputs.detach().cpu().double().numpy()
        crosses = [x.T @ target.detach().cpu().double().numpy() for target in targets]
        self._cross = [a + b for a, b in zip(self._cross, crosses, strict=True)] if self._cross else crosses

    def solve(self) -> list[np.ndarray]:
        """The maps, `[D, M]` float64 each: `inputs @ map` comes nearest to the targets.

        Raises:
            UserError: fewer positions than twice the width and no ridge: such a map fits what it has seen perfectly
                and says nothing of anything else.
        """
        enough([self.count], len(self._gram.matrix) if self.count else 0, self.ridge)
        gram = self._gram.matrix
        scale = np.sqrt(np.diag(gram))
        scale[scale == 0] = 1.0
        system = gram / np.outer(scale, scale)
        system[np.diag_indices_from(system)] += (self.ridge or 0.0) + STEADY
        try:
            factor = linalg.cho_factor(system)
        except linalg.LinAlgError:  # dependent features: the map of least norm in their scale
            inverse = linalg.pinvh(system)
            return [(inverse @ (c / scale[:, None])) / scale[:, None] for c in self._cross]
        return [linalg.cho_solve(factor, c / scale[:, None]) / scale[:, None] for c in self._cross]


def enough(counts: Sequence[int], width: int, ridge: float | None) -> None:
    """Refuses fewer positions than twice the width, unless a ridge is set (UserError with the numbers)."""
    least = min(counts)
    if ridge is None and (least < 2 * width or not least):
        raise UserError(
            f"{least:,} positions are too few to fit a map of {width} features, which takes {2 * width:,}; give more "
            "text, or set ridge (0.01, say)"
        )


def r_squared(given: Tensor, wanted: Tensor) -> float:
    """Share of variance explained, `1 − Σ(y − ŷ)² / Σ(y − ȳ)²`, averaged over coordinates that vary.

    Args:
        given: predictions ŷ, `[n, M]`.
        wanted: y, `[n, M]`.
    """
    y = wanted.double()
    total = (y - y.mean(0)).square().sum(0)
    left = (y - given.double()).square().sum(0)
    varies = total > 0
    return float((1 - left[varies] / total[varies]).mean()) if bool(varies.any()) else float("nan")


def named(maps: Mapping[tuple[int, int], Tensor]) -> dict[str, Tensor]:
    """Maps between layers under the names that they have in a file: `3.to.30`."""
    return {f"{layer}.to.{later}": matrix for (layer, later), matrix in maps.items()}


def read_maps(file: Path, dim: int) -> dict[tuple[int, int], Tensor]:
    """Maps between layers, by the layer they start from and the one they lead to, from a safetensors file.

    Args:
        file: as written from `named`.
        dim: width of the network's states.

    Raises:
        UserError: no such file, or it holds something else.
    """
    found = {}
    for name, matrix in tensors.load(file).items():
        match = _NAME.fullmatch(name)
        if match is None or tuple(matrix.shape) != (dim, dim) or not matrix.is_floating_point():
            raise UserError(
                f"{file}: {name!r} {list(matrix.shape)} is no map between layers of width {dim}; give the "
                "shortcuts.safetensors that linear-shortcuts wrote for this model"
            )
        found[int(match[1]), int(match[2])] = matrix
    return found
