"""How a comparison spends its minutes: shares of the time, decided once and kept."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SHORTEST = 20.0  # seconds of training below which an arm is not given a fair chance
TRAINING = 0.3  # of the minutes, shared by the arms that train: less, and the data are cut instead
FULL = 45.0  # seconds of training a piece below which arms are raced
RUNGS = (0.25, 0.5, 1.0)
SLOW = 10.0  # times the median arm's seconds: an arm that takes more is not worth the others' data
ENDING = 6.0  # report, latencies, writing


@dataclass(frozen=True)
class Cost:
    """Seconds of an arm on the whole data, but for what is fixed.

    Args:
        prepare_fixed, prepare: before the first step, whatever the size; and what grows with it.
        evaluate: the validation part and the test part, once each.
        validate: of that, the validation part.
        ready: the documents of neither, for the index of the best one.
    """

    prepare_fixed: float
    prepare: float
    evaluate: float
    validate: float = 0.0
    ready: float = 0.0

    def at(self, share: float) -> float:
        """Seconds beside training, when that share of the data is kept."""
        return self.prepare_fixed + share * (self.prepare + self.evaluate)

    @property
    def whole(self) -> float:
        """Seconds beside training on the whole data, an index of it included."""
        return self.at(1.0) + self.ready


@dataclass(frozen=True)
class Plan:
    """What was decided before the first arm.

    Args:
        share: of the data that is kept.
        raced: whether arms are dropped on the way.
        minimum: the fewest minutes for the whole data.
        overhead: seconds that are not training, as estimated.
        rungs: of these, for judging those that go on in a race.
    """

    share: float
    raced: bool
    minimum: float
    overhead: float
    rungs: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def too_slow(costs: dict[str, Cost], trained: Collection[str], minutes: float, spent: float) -> list[str]:
    """Arms for whose sake most of the data would be cut, for all: far slower than the median, and left out for that.

    Args:
        costs: of every arm, by label.
        trained: labels of those that train.
        minutes: the person's.
        spent: seconds that are gone already.
    """
    slow: list[str] = []
    typical = statistics.median(cost.whole for cost in costs.values())
    for label in sorted(costs, key=lambda label: -costs[label].whole):
        left = {other: cost for other, cost in costs.items() if other not in slow}
        share = decide(left, len(left.keys() & set(trained)), minutes, spent).share
        if share >= 0.5 or costs[label].whole <= SLOW * typical:
            break
        slow.append(label)
    return slow


def decide(costs: dict[str, Cost], trained: int, minutes: float, spent: float) -> Plan:
    """The plan for so many minutes.

    Args:
        costs: of every arm.
        trained: how many arms train.
        minutes: the person's.
        spent: seconds that are gone already.
    """
    ready = max((c.ready for c in costs.values()), default=0.0)
    judged_again = sum(_alive(trained)[1:]) * max((c.validate for c in costs.values()), default=0.0)

    def overhead(share: float, raced: bool) -> float:
        whole = sum(c.at(share) for c in costs.values()) + share * ready + ENDING
        return whole + share * judged_again if raced else whole

    available = minutes * 60 - spent
    minimum = (overhead(1.0, trained > 1) + trained * SHORTEST + spent) / 60
    training = min(trained * SHORTEST, TRAINING * available)

    def fitting(raced: bool) -> float:
        share = 1.0
        while share > 0.02 and overhead(share, raced) + training > available:
            share *= 0.95
        return share

    share = fitting(False)
    raced = trained > 1 and (available - overhead(share, False)) / trained < FULL
    share = fitting(raced)
    return Plan(share, raced, minimum, overhead(share, raced), share * judged_again if raced else 0.0)


def _alive(arms: int) -> list[int]:
    """How many of `arms` run at each rung of a race."""
    return [max(1, arms >> rung) for rung in range(len(RUNGS))]


def race_budget(seconds: float, arms: int) -> float:
    """The full budget of one arm when `arms` are halved at every rung within `seconds` in all."""
    pieces = np.diff((0.0, *RUNGS))
    cost = float(sum(alive * piece for alive, piece in zip(_alive(arms), pieces, strict=True)))
    return seconds / cost
