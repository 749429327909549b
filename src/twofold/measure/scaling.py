"""How loss falls with what training costs, and networks of equal cost.

Power laws of training: Kaplan et al. 2020, https://arxiv.org/abs/2001.08361
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from twofold.errors import UserError
from twofold.measure.costs import cost
from twofold.measure.statistics import Interval
from twofold.parts import SequenceModel


@dataclass(frozen=True)
class PowerLaw:
    """`loss = scale · cost^(−exponent)`.

    Args:
        scale: the loss at cost 1.
        exponent: how steeply it falls, with the interval of the bootstrap.
    """

    scale: float
    exponent: Interval

    def __call__(self, cost: float) -> float:
        """The loss at a cost."""
        return self.scale * cost**-self.exponent.mean


def fit_power_law(loss: ArrayLike, cost: ArrayLike, n: int = 2000, seed: int = 0, level: float = 0.95) -> PowerLaw:
    """The power law nearest to the points, by least squares of logarithms; the interval resamples the points.

    With a handful of points the interval is rough, and with two it has no width at all.

    Args:
        loss: one a run, above 0, `[runs]`.
        cost: of each run, in any unit, above 0, `[runs]`.
        n: resamples; those that hold one cost only say nothing and are left out.
        seed: of the resampling.
        level: confidence level.

    Raises:
        ValueError: different lengths, values that are not above 0, or fewer than two different costs.
    """
    y, x = np.asarray(loss, np.float64), np.asarray(cost, np.float64)
    if y.ndim != 1 or y.shape != x.shape:
        raise ValueError(f"a power law needs a loss for each cost, got shapes {y.shape} and {x.shape}")
    if not (np.isfinite(y).all() and np.isfinite(x).all() and (y > 0).all() and (x > 0).all()):
        raise ValueError("a power law needs losses and costs that are finite and above 0")
    if len(np.unique(x)) < 2:
        raise ValueError("a power law needs at least 2 different costs")
    x, y = np.log(x), np.log(y)
    slope, level_at = _line(x[None], y[None])
    drawn = np.random.default_rng(seed).integers(0, len(x), size=(n, len(x)))
    drawn = drawn[np.ptp(x[drawn], axis=1) > 0]
    slopes, _ = _line(x[drawn], y[drawn])
    tail = (1 - level) / 2
    low, high = np.quantile(-slopes, (tail, 1 - tail))
    return PowerLaw(math.exp(level_at[0]), Interval(float(-slope[0]), float(low), float(high), level, len(x)))


def speedup_factor(
    dense_cost: ArrayLike, dense_loss: ArrayLike, other_cost: ArrayLike, other_loss: ArrayLike, at: float
) -> float:
    """How many times the dense network's cost it takes the other to reach the same loss as the dense one has at cost
    `at`: above 1 where the other is cheaper. Artetxe et al. 2021, https://arxiv.org/abs/2112.10684

    Curves are made to fall (a loss counts once it was reached) and interpolated between logarithms.

    Args:
        dense_cost, dense_loss: the dense network's curve, costs rising and above 0, `[points]`.
        other_cost, other_loss: the other's, `[points]`.
        at: a cost of the dense network, within its curve.

    Returns:
        dense cost / other cost at that loss; infinite where it is below the other's first cost, and 0 where the other
        never reaches it.

    Raises:
        ValueError: curves without points or of different lengths, costs that do not rise, or `at` outside.
    """
    curves = []
    for given_cost, given_loss in ((dense_cost, dense_loss), (other_cost, other_loss)):
        x, y = np.log(np.asarray(given_cost, np.float64)), np.asarray(given_loss, np.float64)
        if y.ndim != 1 or x.shape != y.shape or not len(x) or not (np.diff(x) > 0).all() or not (y > 0).all():
            raise ValueError("a curve has a loss above 0 for each cost, and its costs rise")
        curves.append((x, np.minimum.accumulate(np.log(y))))
    (x, y), (other, reached) = curves
    if not x[0] <= math.log(at) <= x[-1] + 1e-12:
        raise ValueError(f"cost {at:g} lies outside of the dense curve")
    target = float(np.interp(math.log(at), x, y))
    if target < reached[-1]:
        return 0.0
    if target > reached[0]:
        return math.inf
    # Where a curve stands still, the first cost at which it got there counts.
    where = int(np.argmax(reached <= target))
    if where == 0:
        return math.exp(math.log(at) - other[0])
    share = (reached[where - 1] - target) / (reached[where - 1] - reached[where])
    return math.exp(math.log(at) - (other[where - 1] + share * (other[where] - other[where - 1])))


def value_at(curve: Sequence[tuple[float, float]], x: float) -> float:
    """The last value of a curve of (x, value) that was there at `x`; its first where none was."""
    there = [value for at, value in curve if at <= x * (1 + 1e-9)]
    return there[-1] if there else curve[0][1]


def iso_flops(make: Callable[[int], SequenceModel], flops: float, sizes: Sequence[int], length: int) -> int:
    """The largest size whose network costs no more operations per token than `flops`.

    Args:
        make: a network of a size; it is made without storage (on the meta device).
        flops: operations per token, as `cost` counts them.
        sizes: the choice, ascending; a larger one must cost more.
        length: tokens in a sequence.

    Raises:
        UserError: even the smallest costs more.
    """

    def spent(size: int) -> float:
        with torch.device("meta"):
            return cost(make(size), length).flops

    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if spent(sizes[middle]) <= flops else (low, middle)
    if low == 0:
        raise UserError(
            f"even size {sizes[0]} costs {spent(sizes[0]):,.0f} operations per token, and {flops:,.0f} are allowed; "
            "allow more"
        )
    return sizes[low - 1]


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of the least-squares line of each row."""
    centred = x - x.mean(1, keepdims=True)
    slope = (centred * y).sum(1) / (centred**2).sum(1)
    return slope, y.mean(1) - slope * x.mean(1)
