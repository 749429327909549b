"""What each arm of a comparison costs here: two small runs, of which what differs grows with the data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twofold import progress
from twofold.catalog import Arm
from twofold.tasks import ModelSystem, Task
from twofold.tasks.inputs import keeping
from twofold.trials.plan import Cost

SHARE = 0.2  # of the minutes, at most, for second runs
LARGER = 5.0  # seconds that a second run may take if all of the first grows with the data


def pilot(task: Task, arms: Sequence[tuple[Arm, ModelSystem]], data: Any, seconds: float = math.inf) -> dict[str, Cost]:
    """Seconds of every arm on the whole data, but for its training.

    Only the validation part is evaluated; the test part is taken to cost as much an item. Where a second run would end
    after `seconds`, all of the first is taken to grow with the data, which is more than it will be.
    """
    until = time.monotonic() + seconds
    samples = _Samples(task, data)
    costs: dict[str, Cost] = {}
    warm = False
    with progress.stage("pilot: what does each arm cost here", total=len(arms)) as stage:
        for arm, system in arms:
            if system.trains and not warm:
                with keeping():  # of its own: the runs that are timed must find nothing done
                    system.rehearse(samples.cuts[0])  # kernels are chosen at the first pass of a process
                warm = True
            costs[arm.label] = samples.cost(system, until)
            stage.advance(note=arm.label)
    return costs


class _Samples:
    """Ever larger cuts of the data, each with at least twice the items for training; one, where nothing can be cut."""

    def __init__(self, task: Task, data: Any) -> None:
        self.task, self.data = task, data
        self.cuts = [task.cut(data, 0.01)]
        for share in (0.03, 0.06, 0.25, 1.0):
            cut = task.cut(data, share) if share < 1 else data
            if self._items(cut, "train") >= 2 * self._items(self.cuts[-1], "train"):
                self.cuts.append(cut)
        self.train = [max(self._items(cut, "train"), 1) for cut in self.cuts]
        self.whole = max(self._items(data, "train"), 1)
        self.judged = [max(self._items(cut, "validation"), 1) for cut in self.cuts]
        self.wide = next((i for i, items in enumerate(self.judged) if items >= 1.5 * self.judged[0]), 0)

    def cost(self, system: ModelSystem, until: float) -> Cost:
        """What goes before the first step of training, and what evaluating costs, from runs on two of the cuts."""
        few, wide = self.cuts[0], self.cuts[self.wide]
        model, first = _timed(partial(system.rehearse, few))
        _, evaluated = _timed(partial(self.task.evaluate, model, few, "validation"))
        more = self._affordable(first)
        further = first * self.train[more] / self.train[0] + evaluated * self.judged[self.wide] / self.judged[0]
        if time.monotonic() + further > until:
            return self._cost(0.0, first * self.whole / self.train[0], evaluated / self.judged[0])
        prepare, item = 0.0, evaluated / self.judged[0]
        if more:
            model, second = _timed(partial(system.rehearse, self.cuts[more]))
            prepare = max(0.0, second - first) * self.whole / (self.train[more] - self.train[0])
        if self.wide:
            _, again = _timed(partial(self.task.evaluate, model, wide, "validation"))
            item = max(0.0, again - evaluated) / (self.judged[self.wide] - self.judged[0])
        return self._cost(first, prepare, item)

    def _affordable(self, first: float) -> int:
        """The largest cut for a second run; the next one in any case, where there is one."""
        cuts = range(1, len(self.cuts))
        able = [i for i in cuts if first * self.train[i] <= LARGER * self.train[0]]
        return max(able, default=min(1, len(cuts)))

    def _cost(self, fixed: float, prepare: float, each: float) -> Cost:
        """From what preparing takes and what evaluating one item does."""
        train, validation, test = (each * self._items(self.data, part) for part in ("train", "validation", "test"))
        return Cost(fixed, prepare, validation + test, validation, train)

    def _items(self, data: Any, part: str) -> int:
        counts = self.task.describe(data)["counts"]
        return sum(counts.get(part, {}).values())


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds that it took."""
    started = time.perf_counter()
    given = work()
    return given, time.perf_counter() - started
