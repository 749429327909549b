"""What a comparison found, in figures and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from twofold.catalog import Seconds
from twofold.catalog.claims import budget_dict
from twofold.measure import pareto, statistics
from twofold.tasks import Task
from twofold.trials.arms import Measured
from twofold.trials.plan import RUNGS

FEW = 20  # validation items below which a choice is hardly more than a guess


def of(
    task: Task,
    metric: str,
    arms: Sequence[Measured],
    tested: Mapping[str, np.ndarray],
    chosen: Measured | None,
    seed: int,
) -> dict[str, Any]:
    """Rows, Pareto front and recommendation.

    Args:
        metric: the main figure.
        arms: every arm; those on the front of test quality and latency are marked.
        tested: the figure of every test item, by arm's label, `[n]` each, paired.
        chosen: the recommended arm.
        seed: of the bootstrap.
    """
    sign = 1.0 if task.direction == "higher" else -1.0
    finished = [m for m in arms if m.quality and m.latency_ms]
    points = [(sign * m.quality["mean"], m.latency_ms["median"]) for m in finished if m.quality and m.latency_ms]
    front = pareto.front(points)
    for i, measured in enumerate(finished):
        measured.pareto = i in front
    return {
        "task": task.name,
        "metric": metric,
        "direction": task.direction,
        "beside": [name for name in task.beside if any(name in m.figures for m in arms)],
        "rows": [asdict(m) for m in arms],
        "recommendation": sentence(task, metric, chosen, tested, seed),
    }


def sentence(task: Task, metric: str, chosen: Measured | None, tested: Mapping[str, np.ndarray], seed: int) -> str:
    """Why this one, in one sentence, with what it gains over each baseline on test, paired."""
    if chosen is None or chosen.quality is None:
        return "No arm finished, so none is recommended."
    gains = []
    for other in task.baselines:
        if other in tested and other != chosen.label:
            gain = statistics.paired_bootstrap(tested[other], tested[chosen.label], seed=seed)
            gains.append(f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over {other}")
    if chosen.id in task.baselines:
        why = "nothing beat it on validation within the budget"
    else:
        why = f"it is best on validation ({metric} {chosen.validation:.3f}), or as good and faster"
    if not gains:
        return f"{chosen.label} is recommended: {why}."
    return f"{chosen.label} is recommended: {why}; on test {', '.join(gains)}."


def about(plan: Mapping[str, Any], dtype: str, judged: int = FEW) -> list[str]:
    """What a reader must know of how the figures were made.

    Args:
        plan: what was decided before the first arm.
        dtype: what networks compute in.
        judged: items of the validation part that the choice rests on.
    """
    notes = []
    if plan["share"] < 1:
        needed, kept = f"{plan['minimum']:.1f}", f"{plan['share']:.0%}"
        notes.append(f"the pool was cut: the whole data need about {needed} minutes here, so {kept} were kept")
    if plan["raced"]:
        rungs = " and ".join(f"{r:.0%}" for r in RUNGS[:-1])
        notes.append(f"raced: the worse half was dropped at {rungs} of the budget")
    notes.append("choices were made on the validation part; quality is shown on the test part")
    if 0 < judged < FEW:
        notes.append(f"the choice rests on {judged} validation items, too few to be sure of it; more data would help")
    notes.append(f"quality intervals: bootstrap over test items, 95 %; networks compute in {dtype}")
    return notes


def budget(plan: Mapping[str, Any], minutes: float) -> dict[str, Any]:
    """The person's minutes, the fewest for the whole data, and what each trained arm was given."""
    seconds = plan["train_seconds"]
    each = budget_dict(Seconds(seconds)) if seconds else None
    return {"minutes": minutes, "minimum": round(plan["minimum"], 1), "each": each, "raced": plan["raced"]}
