"""Behaviour traces: a few numbers of a fixed small case. Code that leaves them equal leaves records fresh."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from twofold.catalog import Arm, Steps, configure
from twofold.tasks import ModelSystem, StudySystem
from twofold.tasks import task as task_named
from twofold.tasks.examples import rows_for, small_model

TOLERANCE = 1e-4


def trace(arm: Arm, study: bool = False) -> list[float]:
    """The trace of an arm: losses of 20 seeded steps, outputs of a transformed random network, or a small report.

    Args:
        arm: which system, with options.
        study: the report of its study, where it has one beside what it is.
    """
    system: Any = configure(arm)
    rows = rows_for(system)
    if study or isinstance(system, StudySystem):
        return [round(v, 6) for v in system.small().run(None, None, seed=0).figures.values()]
    if system.kind == "transform":
        model = system.small().apply(small_model(), rows, seed=0)
        outputs: Any = model.encode(rows.columns["document"][:8])
        return _digest(outputs.values) + system.traced(model)
    assert isinstance(system, ModelSystem)
    task = task_named(system.card.tasks[0])
    data = task.read(rows)
    fitted = system.small().fit(data, Steps(20), seed=0)
    if fitted.history is None:
        return [round(v, 6) for v in task.evaluate(fitted.model, data, "train").figures.values()]
    return [round(float(point["loss"]), 6) for point in fitted.history.curve]


def close(old: Sequence[float] | None, new: Sequence[float]) -> bool:
    """Whether two traces agree to 1e-4 of their size."""
    if old is None or len(old) != len(new):
        return False
    return all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(old, new, strict=True))


def _digest(values: torch.Tensor) -> list[float]:
    flat = values.double().flatten()
    weights = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    return [round(float(v), 6) for v in (flat.mean(), flat.std(), (flat * weights).mean())]
