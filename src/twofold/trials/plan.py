"""How a comparison spends its minutes: a pilot on a few items, then shares of the time that are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twofold import progress
from twofold.catalog import Arm
from twofold.tasks import ModelSystem, Task

SHORTEST = 20.0  # seconds of training below which an arm is not given a fair chance
TRAINING = 0.3  # of the minutes, shared by the arms that train: less, and the data are cut instead
FULL = 45.0  # seconds of training a piece below which arms are raced
RUNGS = (0.25, 0.5, 1.0)
PILOT = 0.2  # of the minutes, at most, for second runs of the pilot
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


def pilot(task: Task, arms: Sequence[tuple[Arm, ModelSystem]], data: Any, seconds: float = math.inf) -> dict[str, Cost]:
    """What each arm costs, from two small runs: what differs between them grows with the data.

    Only the validation part is evaluated; the test part is taken to cost as much an item. Where a second run would end
    after `seconds`, all of the first is taken to grow with the data, which is more than it will be.
    """
    started = time.monotonic()
    costs: dict[str, Cost] = {}
    few, more = _samples(task, data)
    grown = (_size(task, more) - _size(task, few)) / _size(task, data)
    further = _size(task, more, "validation") - _size(task, few, "validation")
    warm = False
    with progress.stage("pilot: what does each arm cost here", total=len(arms)) as stage:
        for arm, system in arms:
            if system.trains and not warm:
                _seconds(task, system, few)  # kernels are chosen at the first pass of a process
                warm = True
            small = _seconds(task, system, few)
            if time.monotonic() - started + sum(small) * _size(task, more) / _size(task, few) > seconds:
                whole = small[0] * _size(task, data) / _size(task, few)
                costs[arm.label] = _cost(task, data, 0.0, whole, small[1] / max(_size(task, few, "validation"), 1))
            else:
                large = _seconds(task, system, more)
                prepare = max(0.0, large[0] - small[0]) / grown if grown else 0.0
                judged = (
                    max(0.0, large[1] - small[1]) / further
                    if further
                    else large[1] / max(_size(task, more, "validation"), 1)
                )
                costs[arm.label] = _cost(task, data, small[0], prepare, judged)
            stage.advance(note=arm.label)
    return costs


def _samples(task: Task, data: Any) -> tuple[Any, Any]:
    """A little of the data, and more; data so small that a cut leaves it whole are both."""
    few = task.cut(data, 0.015)
    for share in (0.06, 0.25, 1.0):
        more = task.cut(data, share) if share < 1 else data
        if _size(task, more) >= 2 * _size(task, few):
            break
    return few, more


def _cost(task: Task, data: Any, fixed: float, prepare: float, each: float) -> Cost:
    """From what preparing takes and what evaluating one item does."""
    train, validation, test = (each * _size(task, data, part) for part in ("train", "validation", "test"))
    return Cost(fixed, prepare, validation + test, validation, train)


def _seconds(task: Task, system: ModelSystem, data: Any) -> tuple[float, float]:
    """Of all that goes before the first step of training, and of evaluating the validation part."""
    started = time.perf_counter()
    model = system.rehearse(data)
    fitted = time.perf_counter()
    task.evaluate(model, data, "validation")
    return fitted - started, time.perf_counter() - fitted


def _size(task: Task, data: Any, part: str | None = None) -> int:
    counts = task.describe(data)["counts"]
    return sum(sum(c.values()) for name, c in counts.items() if part in (None, name))


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
