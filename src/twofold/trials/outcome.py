"""Running one arm of a claim once: a model is fitted, a transform applied, a study run; each gives figures."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from twofold.catalog import Arm, Claim, Steps, configure
from twofold.checkpoints import KNOWN
from twofold.data import NAMES, Rows, read, split
from twofold.data.made import algorithms, sequences
from twofold.measure import costs
from twofold.parts import bits_per_weight
from twofold.tasks import Analysis, Model, ModelSystem, StudySystem, System, Task, TransformSystem, load
from twofold.tasks import task as task_named
from twofold.trials.latency import serving

STUDY = "study"  # in a claim, in place of a task


def by_study(claim: Claim, cls: Any) -> bool:
    """Whether a claim is about what the system's study reports."""
    return cls.kind == STUDY or claim.task == STUDY


@dataclass
class Outcome:
    """What one run of one arm gave.

    Args:
        figures: by name; the claim's metric is one of them.
        costs: parameters, bytes and seconds, by name.
        detail: what the system reported of itself.
    """

    figures: dict[str, float]
    costs: dict[str, float] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)


def run(arm: Arm, claim: Claim, task: Task | None, seed: int, part: str = "test", steps: int | None = None) -> Outcome:
    """One run of one arm.

    Args:
        arm: which system, with options.
        claim: data, budget and settings.
        task: what evaluates a model; None for a study.
        seed: of everything random; for claims over samples or files, the sample's or file's number.
        part: the part of the data that is judged.
        steps: a shorter budget than the claim's (tuning).
    """
    if claim.further:
        sets = (claim.data, *claim.further)
        return _mean(
            claim.metric,
            {name: run(arm, replace(claim, data=name, further=()), task, seed, part, steps) for name in sets},
        )
    system: System = configure(arm)
    started = time.perf_counter()
    if isinstance(system, StudySystem) or (claim.task == STUDY and isinstance(system, Analysis)):
        report = system.run(load(claim.on) if claim.on else None, study_rows(claim, part), seed=seed)
        return Outcome(report.figures, {"seconds": time.perf_counter() - started})
    assert task is not None
    base = _base(claim) if isinstance(system, TransformSystem) else None
    model, seconds, detail = _model(system, claim, task, base, seed, steps)
    setting = {"metric": claim.metric, **claim.setting}
    if claim.repeat in ("sample", "file"):
        setting[claim.repeat] = seed
    data = _task_data(task, claim)
    figures, spent = dict(task.evaluate(model, data, part, **setting).figures), {"seconds": seconds, **model.costs()}
    if base is not None:
        figures |= task.fidelity(model, base, data, part, **setting)
        spent |= _sizes(model)
    return Outcome(figures, spent, detail)


def _sizes(model: Model) -> dict[str, float]:
    """What a transform left of a model: bytes of its weights as they are saved, of its blocks, and bits a weight."""
    with tempfile.TemporaryDirectory() as place:
        saved = model.save(Path(place) / "model")
        written = sum(file.stat().st_size for file in saved.glob("tensors.*"))
    blocks = costs.block_bytes(model.net)
    return {"file_bytes": written, "block_bytes": blocks, "bits_per_weight": bits_per_weight(model.net)}


def _mean(metric: str, runs: Mapping[str, Outcome]) -> Outcome:
    """Means of the figures and costs of runs on several data sets, and the metric of each."""
    outcomes = list(runs.values())

    def mean(kind: str) -> dict[str, float]:
        tables: list[dict[str, float]] = [getattr(outcome, kind) for outcome in outcomes]
        return {n: sum(t[n] for t in tables) / len(tables) for n in tables[0] if all(n in t for t in tables)}

    each = {f"{metric} {name}": outcome.figures[metric] for name, outcome in runs.items()}
    return Outcome({**mean("figures"), **each}, mean("costs"), outcomes[0].detail)


def study_rows(claim: Claim, part: str = "test") -> Rows | None:
    """The data of a claim about a study: an embedded set, or a person's file or folder; None where it makes its own.

    Where another part than the test's is judged, that one stands in its place and the test's rows are not there: a
    study reads all that it is given.
    """
    if claim.data not in NAMES and not Path(claim.data).exists():
        return None
    rows = _whole(claim.data, tuple(claim.columns.items()))
    if part == "test":
        return rows
    assert rows.splits is not None
    rows = rows.take(i for i, name in enumerate(rows.splits) if name != "test")
    assert rows.splits is not None
    return split(replace(rows, splits=["test" if name == part else name for name in rows.splits]))


def _model(
    system: System, claim: Claim, task: Task, base: Model | None, seed: int, steps: int | None
) -> tuple[Model, float, dict[str, Any]]:
    """A fitted model, or `base` transformed; the seconds that took; and what the system reported of it."""
    started = time.perf_counter()
    if isinstance(system, ModelSystem):
        budget = Steps(steps) if steps is not None else claim.budget
        assert budget is not None, "a claim about models states a budget"
        model = system.fit(_task_data(task, claim), budget, seed=seed).model
    else:
        assert isinstance(system, TransformSystem)
        assert base is not None
        rows = _rows(claim.data, task.shares).part("train") if system.calibrates else Rows.of({})
        started = time.perf_counter()
        model = system.apply(base, rows, seed=seed)
    seconds = time.perf_counter() - started
    detail: Mapping[str, Any] = model.history[-1]["report"] if model.history else {}
    return model, seconds, dict(detail)


def _base(claim: Claim) -> Model:
    """The checkpoint that a transform starts from, with the claim's settings."""
    assert claim.on is not None, "a claim about transforms names the checkpoint they start from"
    base = load(claim.on)
    base.spec |= {k: v for k, v in claim.setting.items() if k in base.spec}
    return base


def data_of(claim: Claim, study: bool) -> dict[str, Any]:
    """Name, source and fingerprint of a claim's data.

    Args:
        claim: names them; the name of a checkpoint means its weights.
        study: a study is given an embedded set that is named; else it makes its data from the repeat's seed.
    """
    if study and claim.data not in NAMES:
        return {"name": claim.data, "source": "made from seeds", "fingerprint": "seeded"}
    if claim.data in KNOWN:
        known = KNOWN[claim.data]
        source = f"the weights in {known.package} {known.version}"
        return {"name": claim.data, "source": source, "fingerprint": f"sha256-{known.sha256[:16]}"}
    if claim.further:
        every = [read(name) for name in (claim.data, *claim.further)]
        joined = {"name": " + ", "source": "; ", "fingerprint": "+"}
        return {what: sign.join(str(getattr(rows, what)) for rows in every) for what, sign in joined.items()}
    if sequences.parse(claim.data) is not None or algorithms.named(claim.data) is not None:
        described = task_named("solve").describe(task_named("solve").read(claim.data))
        return {name: described[name] for name in ("name", "source", "fingerprint")}
    rows = read(claim.data)
    return {"name": rows.name, "source": rows.source, "fingerprint": rows.fingerprint}


def latencies(arms: Sequence[Arm], claim: Claim, task: Task, seed: int) -> dict[str, costs.Latency]:
    """Latencies of the arms' models on requests of the test part, interleaved; needs the machine to itself."""
    data = _task_data(task, claim)
    models = {}
    for arm in arms:
        system = configure(arm)
        base = _base(claim) if isinstance(system, TransformSystem) else None
        models[arm.label] = _model(system, claim, task, base, seed, None)[0]
    return serving({label: task.requests(model, data) for label, model in models.items()})


@lru_cache(maxsize=1)
def _whole(source: str, columns: tuple[tuple[str, str], ...]) -> Rows:
    return split(read(source, columns=dict(columns) or None))


@lru_cache(maxsize=2)
def _rows(name: str, shares: tuple[float, float, float]) -> Rows:
    return split(read(name), shares)


def _task_data(task: Task, claim: Claim) -> Any:
    return _read(task.name, claim.data, tuple(claim.columns.items()))


@lru_cache(maxsize=2)
def _read(task: str, source: str, columns: tuple[tuple[str, str], ...]) -> Any:
    return task_named(task).read(source, dict(columns) or None)
