"""What is remembered of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

POSITION = ("step", "seconds", "tokens", "lr")
"""The columns of a row that say where it is; all others are figures and may be averaged."""


@dataclass(frozen=True)
class History:
    """A training run in numbers; JSON-able through `as_dict`.

    Attributes:
        steps: optimizer steps taken.
        seconds: seconds of training, over all resumptions; validation and saving are not counted.
        tokens: tokens seen (0 where batches have none).
        fraction: the share of the budget that is spent, in [0, 1].
        curve: at most a few hundred points, each the mean over the steps since the point before it:
            `step`, `seconds`, `tokens`, `lr`, `loss` and the objective's figures.
        validation: one entry a validation: `fraction`, `step`, `seconds`, `tokens` and its figures.
        best: the validation whose weights the network was left with, where the best were kept.
    """

    steps: int
    seconds: float
    tokens: int
    fraction: float
    curve: list[dict[str, float]]
    validation: list[dict[str, float]]
    best: dict[str, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Curve:
    """A learning curve of bounded length: when it is full, neighbours are merged and points come half as often."""

    points: list[dict[str, float]] = field(default_factory=list)
    every: int = 1
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    position: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    limit: int = 256

    def add(self, row: Mapping[str, float]) -> None:
        """Take in the figures of one step."""
        for name, value in row.items():
            if name in POSITION:
                self.position[name] = value
            else:
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        self.rows += 1
        if self.rows == self.every:
            self.points.append(self._point())
            self.sums, self.counts, self.position, self.rows = {}, {}, {}, 0
        if len(self.points) == self.limit:
            pairs = zip(self.points[::2], self.points[1::2], strict=True)
            self.points = [_merged(first, second) for first, second in pairs]
            self.every *= 2

    def drawn(self) -> list[dict[str, float]]:
        """All points, the unfinished last one included."""
        return [*self.points, self._point()] if self.rows else list(self.points)

    def _point(self) -> dict[str, float]:
        return {**self.position, **{name: total / self.counts[name] for name, total in self.sums.items()}}


def _merged(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    figures = {**first, **second}
    both = (first.keys() & second.keys()) - set(POSITION)
    return figures | {name: (first[name] + second[name]) / 2 for name in both}
