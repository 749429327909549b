"""How a comparison spends its minutes.

Twice decided and kept: how much of the data and whether arms are raced, from a pilot; then how long arms train, from
what the work took that was done by then.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SHORTEST = 20.0  # seconds of training below which an arm is not given a fair chance
TRAINING = 0.3  # of the minutes, shared by the arms that train: less, and the data are cut instead
FULL = 45.0  # seconds of training a piece below which arms are raced
RUNGS = (0.25, 0.5, 1.0)
SLOW = 10.0  # times the median arm's seconds: an arm that takes more is not worth the others' data
ENDING = 6.0  # report, latencies, writing
MARGIN = 0.1  # of what is still to be done beside training: it may take so much longer than it should
WORTH = 0.05  # of the minutes: what takes longer, and is kept, is done before it is decided how long arms train
SEEN = 2.0  # seconds of work that say how the machine keeps to the pilot's times


@dataclass(frozen=True)
class Cost:
    """Seconds of an arm on the whole data, but for what is fixed.

    Args:
        prepare_fixed, prepare: before the first step, whatever the size; and what grows with it.
        evaluate: the validation part and the test part, once each.
        validate: of that, the validation part.
        ready: the documents of neither, for the index of the best one.
        kept: of `prepare`, states of frozen layers: done once, they are there for every later run.
    """

    prepare_fixed: float
    prepare: float
    evaluate: float
    validate: float = 0.0
    ready: float = 0.0
    kept: float = 0.0

    def at(self, share: float) -> float:
        """Seconds beside training, when that share of the data is kept."""
        return self.prepare_fixed + share * (self.prepare + self.evaluate)

    @property
    def whole(self) -> float:
        """Seconds beside training on the whole data, an index of it included."""
        return self.at(1.0) + self.ready

    def again(self, share: float) -> float:
        """Seconds beside training where an arm goes on: it is prepared anew, but for what is kept, and judged."""
        return self.prepare_fixed + share * (self.prepare - self.kept + self.validate)


@dataclass(frozen=True)
class Plan:
    """What was decided before the first arm.

    Args:
        share: of the data that is kept.
        raced: whether arms are dropped on the way.
        minimum: the fewest minutes for the whole data.
        overhead: seconds that are not training, as estimated.
    """

    share: float
    raced: bool
    minimum: float
    overhead: float

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

    def overhead(share: float, raced: bool) -> float:
        whole = sum(c.at(share) for c in costs.values()) + share * ready + ENDING
        return whole + rungs(costs, trained, share) if raced else whole

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
    return Plan(share, raced, minimum, overhead(share, raced))


def rungs(costs: Mapping[str, Cost], trained: int, share: float) -> float:
    """Seconds of a race beside training and what every arm takes once: those that go on are judged again."""
    return sum(_alive(trained)[1:]) * max((c.again(share) for c in costs.values()), default=0.0)


@dataclass(frozen=True)
class Done:
    """Work that was planned and is done.

    Args:
        planned: seconds that the pilot told of.
        taken: seconds.
    """

    planned: float
    taken: float


def pace(done: Collection[Done], otherwise: float = 1.0) -> float:
    """Seconds that one of the pilot's really takes; `otherwise` where too little is done to tell."""
    planned = sum(each.planned for each in done)
    return sum(each.taken for each in done) / planned if planned >= SEEN else otherwise


def reserve(
    costs: Mapping[str, Cost],
    trained: Collection[str],
    share: float,
    raced: bool,
    judged: Mapping[str, Done],
    prepared: Mapping[str, Done],
    encoded: Mapping[str, float],
) -> float:
    """Seconds to be kept free, when training is about to begin, for all that is not training.

    Args:
        costs: of every arm, by label.
        trained: labels of those that train.
        share: of the data that is kept.
        raced: whether arms are dropped on the way.
        judged: validations of those that do not; each shows its own pace, and all that of the others.
        prepared: states of frozen layers that are there already.
        encoded: seconds of the untrained arms' tests that are done.
    """
    typical = pace([*judged.values(), *prepared.values()])
    paces = {label: pace([judged[label]] if label in judged else [], typical) for label in costs}
    left = 0.0
    for label, cost in costs.items():
        test = share * (cost.evaluate - cost.validate)
        if label in trained:
            before = cost.prepare - (cost.kept if label in prepared else 0.0)
            left += cost.prepare_fixed + paces[label] * (share * (before + cost.validate) + test)
        else:
            left += max(0.0, paces[label] * test - encoded.get(label, 0.0))
    left += share * max((paces[label] * cost.ready for label, cost in costs.items()), default=0.0)
    if raced:
        left += typical * rungs(costs, len(trained), share)
    return (1 + MARGIN) * left + ENDING


def _alive(arms: int) -> list[int]:
    """How many of `arms` run at each rung of a race."""
    return [max(1, arms >> rung) for rung in range(len(RUNGS))]


def race_budget(seconds: float, arms: int) -> float:
    """The full budget of one arm when `arms` are halved at every rung within `seconds` in all."""
    pieces = np.diff((0.0, *RUNGS))
    cost = float(sum(alive * piece for alive, piece in zip(_alive(arms), pieces, strict=True)))
    return seconds / cost
