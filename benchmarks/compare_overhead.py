"""How much of a comparison is not the work of its arms: planning, pilot, latencies, choosing, writing the report.

    python benchmarks/compare_overhead.py [--minutes 5] [--systems bm25,…] [--threads 1] [--json]

One `compare search` on the task's own data. The arms' work is what the same systems would take without it: fitting,
encoding and ranking what they are judged by, and the index of the recommended one. All else is the comparison's own,
reading the data too, and what its pilot and its latencies make the arms do. Of an arm that is prepared ahead, to know
how long that takes, only the states of frozen layers are its own work: its fit finds them; the rest is done twice.
Bound by the pilot, which prepares and evaluates every arm on a few examples.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from twofold.measure import costs
from twofold.trials import compare as comparison

SYSTEMS = "bm25,minilm,gtr"
OWN = ("pilot", "preparing ahead", "latencies", "choosing", "report", "the rest")


class Clock:
    """Seconds by kind of work; work inside other work counts for the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside = False

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        if self._inside:
            yield
            return
        self._inside, started = True, time.perf_counter()
        try:
            yield
        finally:
            self._inside = False
            self.seconds[kind] += time.perf_counter() - started

    def watch(self, where: Any, name: str, kind: str) -> None:
        """Counts the calls of a function or method from here on."""
        call: Callable[..., Any] = getattr(where, name)

        def timed(*given: Any, **named: Any) -> Any:
            with self.of(kind):
                return call(*given, **named)

        setattr(where, name, timed)


def watch_preparing(clock: Clock) -> None:
    """Counts what is prepared ahead; what is kept of it belongs to the arm's fit."""
    prepare = comparison._Comparison._prepare

    def timed(run: Any, *given: Any) -> Any:
        before = run.kept.spent
        with clock.of("preparing ahead"):
            done = prepare(run, *given)
        kept = run.kept.spent - before
        clock.seconds["preparing ahead"] -= kept
        clock.seconds["fitting"] += kept
        return done

    comparison._Comparison._prepare = timed


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--systems", default=SYSTEMS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = Clock()
    arms = comparison.choose("search", given.systems.split(","))
    for cls in {type(system) for _, system in arms}:
        clock.watch(cls, "fit", "fitting")
    judge = type(comparison.task_named("search"))
    clock.watch(judge, "evaluate", "evaluating")
    clock.watch(judge, "ready", "the best one's index")
    clock.watch(judge, "requests", "evaluating")  # encodes the tested documents, which the test then finds encoded
    clock.watch(comparison.pilots, "pilot", "pilot")
    watch_preparing(clock)
    clock.watch(comparison.latency, "serving", "latencies")
    clock.watch(comparison, "recommend", "choosing")
    clock.watch(comparison._Comparison, "_report", "report")
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        comparison.compare("search", systems=given.systems.split(","), minutes=given.minutes, out=f"{place}/out")
        whole = time.perf_counter() - started
    clock.seconds["the rest"] = whole - sum(clock.seconds.values())
    rows = [
        {"work": kind, "own": kind in OWN, "seconds": seconds, "share": seconds / whole}
        for kind, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])
    ]
    own = sum(row["share"] for row in rows if row["own"])
    about = {"environment": costs.environment(), "minutes": given.minutes, "seconds": whole, "own_share": own}
    if given.json:
        print(json.dumps({**about, "rows": rows}))
        return
    print(f"{about['environment']['cpu']}, {given.threads} thread(s), {given.systems}")
    print(f"{whole:.0f} s in all, of {given.minutes * 60:.0f} that were given")
    for row in rows:
        print(f"  {row['work']:<22}{row['seconds']:8.1f} s {row['share']:7.1%}  {'own' if row['own'] else ''}")
    print(f"the comparison's own: {own:.1%}")


if __name__ == "__main__":
    main()
