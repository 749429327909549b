"""What each arm of a comparison costs here, from two small preparations and one small evaluation.

A plan needs no more than that of it: what the work really takes is seen as it is done, and planned with from then on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twofold import progress
from twofold.catalog import Arm
from twofold.errors import UserError
from twofold.tasks import ModelSystem, Task
from twofold.tasks.inputs import keeping, kept_here
from twofold.trials.plan import Cost

SHARE = 0.2  # of the minutes, at most, for second preparations
LATE = 3.0  # times that: arms that were not looked at by then take no part
LARGER = 3.0  # seconds that a second preparation may take if all of the first grows with the data


def pilot(
    task: Task,
    arms: Sequence[tuple[Arm, ModelSystem]],
    data: Any,
    seconds: float = math.inf,
    failed: Callable[[Arm, UserError], None] | None = None,
    late: Callable[[Arm], None] | None = None,
) -> dict[str, Cost]:
    """Seconds of every arm on the whole data, but for its training.

    Of preparing, what differs between both runs grows with the data. Only the validation part is evaluated; the test
    part is taken to cost as much an item. Where a second run would end after `seconds`, all of the first is taken to
    grow, which is more than will. An arm that cannot do it is told to `failed` and is not among the costs; one whose
    turn has not come by three times `seconds`, to `late`, where that is given.
    """
    began = time.monotonic()
    until = began + seconds
    samples = _Samples(task, data)
    costs: dict[str, Cost] = {}
    warm = False
    with progress.stage("pilot: what does each arm cost here", total=len(arms)) as stage:
        for arm, system in arms:
            if late is not None and costs and time.monotonic() > began + LATE * seconds:
                late(arm)
                continue
            try:
                warm = warm or samples.warm(system)
                costs[arm.label] = samples.cost(system, until)
            except UserError as error:
                if failed is None:
                    raise
                failed(arm, error)
            stage.advance(note=arm.label)
    return costs


class _Samples:
    """Ever larger cuts of the data, each with at least twice the items for training; one, where nothing can be cut."""

    def __init__(self, task: Task, data: Any) -> None:
        self.task, self.data = task, data
        self.cuts = [task.cut(data, 0.01)]
        self.train = [max(self._items(self.cuts[0], "train"), 1)]  # none, where they are made as training goes
        for share in (0.03, 0.06, 0.25, 1.0):
            cut = task.cut(data, share) if share < 1 else data
            if self._items(cut, "train") >= 2 * self.train[-1]:
                self.cuts.append(cut)
                self.train.append(self._items(cut, "train"))
        self.whole = max(self._items(data, "train"), 1)
        self.judged = [max(self._items(cut, "validation"), 1) for cut in self.cuts]
        self.wide = next((i for i, items in enumerate(self.judged) if items >= 1.5 * self.judged[0]), 0)

    def warm(self, system: ModelSystem) -> bool:
        """Goes once through what is timed afterwards, if a network does it: kernels are chosen at a process's first."""
        with keeping():  # of its own: the runs that are timed must find nothing done
            model = system.rehearse(self.cuts[0])
        if model.parameters:
            self.task.evaluate(model, self.cuts[0], "validation")
        return model.parameters > 0

    def cost(self, system: ModelSystem, until: float) -> Cost:
        """What goes before the first step of training, and what evaluating costs."""
        states = kept_here()
        saved = states.saved if states else 0.0
        model, first = _timed(partial(system.rehearse, self.cuts[0]))
        # What another arm did for it, nobody has done for a larger cut.
        more = self._affordable(first + (states.saved - saved if states else 0.0))
        if time.monotonic() + first * self.train[more] / self.train[0] > until:
            _, evaluated = _timed(partial(self.task.evaluate, model, self.cuts[0], "validation"))
            return self._cost(0.0, first * self.whole / self.train[0], 0.0, evaluated / self.judged[0])
        prepare = kept = 0.0
        if more:
            growing = self.whole / (self.train[more] - self.train[0])
            before = (states.spent, states.nbytes) if states else (0.0, 0)
            model, second = _timed(partial(system.rehearse, self.cuts[more]))
            prepare = max(0.0, second - first) * growing
            if states and (states.nbytes - before[1]) * self.whole / self.train[more] < states.most:
                kept = min(prepare, (states.spent - before[0]) * self.whole / self.train[more])
        _, evaluated = _timed(partial(self.task.evaluate, model, self.cuts[self.wide], "validation"))
        return self._cost(first, prepare, kept, evaluated / self.judged[self.wide])

    def _affordable(self, first: float) -> int:
        """The largest cut for a second preparation; the next one in any case, where there is one."""
        cuts = range(1, len(self.cuts))
        able = [i for i in cuts if first * self.train[i] <= LARGER * self.train[0]]
        return max(able, default=min(1, len(cuts)))

    def _cost(self, fixed: float, prepare: float, kept: float, each: float) -> Cost:
        """From what preparing takes and what evaluating one item does."""
        train, validation, test = (each * self._items(self.data, part) for part in ("train", "validation", "test"))
        return Cost(fixed, prepare, validation + test, validation, train, kept)

    def _items(self, data: Any, part: str) -> int:
        counts = self.task.describe(data)["counts"]
        return sum(counts.get(part, {}).values())


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds that it took."""
    started = time.perf_counter()
    given = work()
    return given, time.perf_counter() - started
