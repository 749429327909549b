"""Intervals: of a mean, of a paired difference, of a ratio. Same seed, same interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Args:
        mean: the estimate.
        low: lower end; NaN where one observation says nothing of how others would differ.
        high: upper end, likewise.
        level: confidence level, 0 to 1.
        n: how many observations it stands on.
    """

    mean: float
    low: float
    high: float
    level: float = 0.95
    n: int = 0

    def __neg__(self) -> Interval:
        return Interval(-self.mean, -self.high, -self.low, self.level, self.n)

    def exp(self) -> Interval:
        """The interval of the ratio whose logarithm this is."""
        return Interval(math.exp(self.mean), math.exp(self.low), math.exp(self.high), self.level, self.n)

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def bootstrap(
    values: ArrayLike, n: int = 2000, seed: int = 0, level: float = 0.95, weights: ArrayLike | None = None
) -> Interval:
    """Percentile bootstrap of a mean (Efron 1979, https://doi.org/10.1214/aos/1176344552).

    Args:
        values: one figure an item (a query, a document), `[items]`.
        n: resamples.
        seed: of the resampling. Equal seeds draw equal items, so two arms over the same items stay paired.
        level: confidence level.
        weights: what each item counts for, `[items]`, above 0: the mean is `sum(weights * values) / sum(weights)`, of
            every resample too. Bits per byte of documents, weighted by their bytes, are all bits over all bytes.

    Returns:
        The interval; of one item its figure, and no ends.

    Raises:
        ValueError: no values, one that is not finite, or weights that are not above 0 or not as many.
    """
    data = _finite(values, "values")
    shares = None if weights is None else _weights(weights, len(data))
    if len(data) == 1:
        return Interval(float(data[0]), math.nan, math.nan, level, 1)
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(list(_resampled_means(data, n, seed, shares))), (tail, 1 - tail))
    return Interval(float(np.average(data, weights=shares)), float(low), float(high), level, len(data))


def paired_bootstrap(
    baseline: ArrayLike,
    method: ArrayLike,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    weights: ArrayLike | None = None,
) -> Interval:
    """Percentile bootstrap of the mean of `method - baseline` over the same items.

    Args:
        baseline: one figure an item, `[items]`.
        method: figures of the same items in the same order, `[items]`.
        n: resamples.
        seed: of the resampling.
        level: confidence level.
        weights: as of `bootstrap`.

    Raises:
        ValueError: different lengths, no items, or a figure that is not finite.
    """
    return bootstrap(_paired(baseline, method), n, seed, level, weights)


def t_interval(differences: ArrayLike, level: float = 0.95) -> Interval:
    """Student's interval of the mean of a few paired differences, one a repeat.

    Args:
        differences: `[repeats]`, at least two.
        level: confidence level.

    Raises:
        ValueError: fewer than two differences, or one that is not finite.
    """
    data = _finite(differences, "differences")
    if len(data) < 2:
        raise ValueError("an interval needs at least 2 differences, got 1")
    from scipy.special import stdtrit

    half = stdtrit(len(data) - 1, (1 + level) / 2) * data.std(ddof=1) / math.sqrt(len(data))
    mean = float(data.mean())
    return Interval(mean, mean - float(half), mean + float(half), level, len(data))


def differences(baseline: ArrayLike, method: ArrayLike, scale: str = "difference") -> NDArray[np.float64]:
    """`method - baseline`, or on the scale "ratio" the difference of logarithms, of every pair.

    Raises:
        ValueError: different lengths, no pairs, a figure that is not finite, an unknown scale, or on the scale
            "ratio" a figure that is not positive.
    """
    if scale == "difference":
        return _paired(baseline, method)
    if scale != "ratio":
        raise ValueError(f"unknown scale {scale!r}; use 'difference' or 'ratio'")
    logs = []
    for name, values in (("baseline", baseline), ("method", method)):
        data = _finite(values, name)
        if (data <= 0).any():
            raise ValueError(f"a ratio needs positive figures; the {name}'s smallest is {data.min():g}")
        logs.append(np.log(data))
    return _paired(*logs)


def _weights(given: ArrayLike, count: int) -> NDArray[np.float64]:
    found = _finite(given, "weights")
    if len(found) != count or (found <= 0).any():
        raise ValueError(f"{count} values need as many weights above 0; got {len(found)}, the least {found.min():g}")
    return found


def _resampled_means(
    data: NDArray[np.float64], n: int, seed: int, weights: NDArray[np.float64] | None = None
) -> Iterator[NDArray[np.float64]]:
    """Means of `n` resamples, in pieces that fit into memory."""
    generator = np.random.default_rng(seed)
    rows = max(1, _DRAWS_AT_ONCE // len(data))
    for start in range(0, n, rows):
        drawn = generator.integers(0, len(data), size=(min(rows, n - start), len(data)))
        if weights is None:
            yield data[drawn].mean(axis=1)
        else:
            yield (data * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)


def _paired(baseline: ArrayLike, method: ArrayLike) -> NDArray[np.float64]:
    first, second = _finite(baseline, "baseline"), _finite(method, "method")
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths: the baseline has {len(first)}, the method {len(second)}")
    return second - first


def _finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError(f"{name}: a list of at least one figure is needed, got shape {data.shape}")
    wrong = np.flatnonzero(~np.isfinite(data))
    if len(wrong):
        raise ValueError(f"{name}: figure {wrong[0]} of {len(data)} is {data[wrong[0]]}; figures must be finite")
    return data
