"""What a comparison found, in figures and in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from twofold.catalog import Seconds
from twofold.catalog.claims import budget_dict
from twofold.measure import pareto, statistics
from twofold.tasks import Evaluation, Task
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
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Rows, Pareto front and recommendation.

    Args:
        metric: the main figure.
        arms: every arm; those on the front of test quality and latency are marked.
        tested: the figure of every test item, by arm's label, `[n]` each, paired.
        chosen: the recommended arm.
        seed: of the bootstrap.
        weights: what each test item counts for, `[n]`; None: all alike.
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
        "recommendation": sentence(task, metric, chosen, tested, seed, weights),
    }


def items_of(part: str, evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The figures of a part's items as they are kept, with what each counts for."""
    weights = {} if evaluation.weights is None else {f"{part}_weights": evaluation.weights}
    return {part: evaluation.items, **weights}


def weights_of(part: str, kept: Iterable[Mapping[str, np.ndarray]]) -> np.ndarray | None:
    """What each item of a part counts for, the same for all arms; None: all alike."""
    return next((found[f"{part}_weights"] for found in kept if f"{part}_weights" in found), None)


def sentence(
    task: Task,
    metric: str,
    chosen: Measured | None,
    tested: Mapping[str, np.ndarray],
    seed: int,
    weights: np.ndarray | None = None,
) -> str:
    """Why this one, in one sentence, with what it gains over each baseline on test, paired."""
    if chosen is None or chosen.quality is None:
        return "No arm finished, so none is recommended."
    gains = []
    for other in task.baselines:
        if other in tested and other != chosen.label:
            gain = statistics.paired_bootstrap(tested[other], tested[chosen.label], seed=seed, weights=weights)
            ends = f" [{gain.low:+.3f}, {gain.high:+.3f}]" if gain.n > 1 else ""
            gains.append(f"{gain.mean:+.3f}{ends} over {other}")
    if chosen.id in task.baselines:
        why = "nothing beat it on validation within the budget"
    else:
        why = f"it is best on validation ({metric} {chosen.validation:.3f}), or as good and faster"
    if not gains:
        return f"{chosen.label} is recommended: {why}."
    less = "" if task.direction == "higher" else " (less is better)"
    return f"{chosen.label} is recommended: {why}; on test {', '.join(gains)}{less}."


def about(
    plan: Mapping[str, Any],
    dtype: str,
    judged: int = FEW,
    weighted: bool = False,
    minutes: tuple[float, float] | None = None,
    tested: int = FEW,
) -> list[str]:
    """What a reader must know of how the figures were made.

    Args:
        plan: what was decided before the first arm.
        dtype: what networks compute in.
        judged: items of the validation part that the choice rests on.
        weighted: whether long items count for more.
        minutes: the person's, and those that it took.
        tested: items of the test part.
    """
    notes = []
    if plan["share"] < 1:
        needed, kept = f"{plan['minimum']:.1f}", f"{plan['share']:.0%}"
        notes.append(f"the pool was cut: the whole data need about {needed} minutes here, so {kept} were kept")
    if plan["raced"]:
        rungs = " and ".join(f"{r:.0%}" for r in RUNGS[:-1])
        notes.append(f"raced: the worse half was dropped at {rungs} of the budget")
    if minutes is not None and minutes[1] > 1.1 * minutes[0]:
        notes.append(
            f"it took {minutes[1]:.1f} minutes in place of {minutes[0]:g}: so many systems cannot be looked at, "
            "judged and tested in less here; give more minutes, or fewer --systems"
        )
    notes.append("choices were made on the validation part; quality is shown on the test part")
    if 0 < judged < FEW:
        notes.append(f"the choice rests on {judged} validation items, too few to be sure of it; more data would help")
    if weighted:
        notes.append("quality is that of all texts together (all bits over all bytes), not the mean over texts")
    if tested == 1:
        notes.append(f"one test item is too few for intervals of quality; networks compute in {dtype}")
    else:
        notes.append(f"quality intervals: bootstrap over test items, 95 %; networks compute in {dtype}")
    return notes


def budget(plan: Mapping[str, Any], minutes: float) -> dict[str, Any]:
    """The person's minutes, the fewest for the whole data, and what each trained arm was given."""
    seconds = plan["train_seconds"]
    each = budget_dict(Seconds(seconds)) if seconds else None
    return {"minutes": minutes, "minimum": round(plan["minimum"], 1), "each": each, "raced": plan["raced"]}
