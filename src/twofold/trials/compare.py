"""The main job: every system that serves a task, on one person's data, under one budget, side by side."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from twofold import computing, progress
from twofold.catalog import Arm, Seconds
from twofold.errors import UserError
from twofold.measure import costs, reports, statistics
from twofold.tasks import Model, ModelSystem, load
from twofold.tasks import task as task_named
from twofold.tasks.inputs import keeping
from twofold.trials import findings, latency
from twofold.trials import pilot as pilots
from twofold.trials import plan as planning
from twofold.trials.arms import Measured, Place, choose, write_json
from twofold.trials.recommend import recommend

FORMAT = 3


def compare(
    task: str,
    source: Any = None,
    *,
    systems: Sequence[str] | None = None,
    minutes: float = 5.0,
    out: str | Path = "out",
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    fresh: bool = False,
    dtype: str = "auto",
) -> dict[str, Any]:
    """Trains or loads every arm under the same budget, measures quality and cost, and recommends one.

    Choices are made on the validation part; the figures shown come from the test part, read once, after the choice.
    The folder `out` gets `best/` (ready to use), `report.html`, `compare.json`, and a folder an arm under `arms/`.
    Interrupted, the same call goes on from what is there.

    Args:
        task: name of the task.
        source: data set, path or rows; by default the task's embedded data.
        systems: arms as ids, `id(option=value)` or `./file.py:Class`; by default all that serve the task.
        minutes: wall-clock minutes in all; below what the whole data needs, the data are cut, which the notes say.
            What is left of them beside all other work, arms train, each as long as the others.
        out: the folder to write.
        seed: of weights and batches.
        columns: the task's column names to the data's.
        fresh: throw away what `out` holds of an earlier comparison.
        dtype: what networks compute in: float32, bfloat16, or auto, whichever is faster here.

    Returns:
        What the report shows: rows, recommendation, notes, data, budget, environment.

    Raises:
        UserError: the data cannot be read, an arm does not serve the task, or `out` holds another comparison.
    """
    if minutes <= 0:
        raise UserError(f"--minutes is {minutes}; give a number above 0")
    with computing.on(dtype=_kept_dtype(Path(out), dtype)):
        return _Comparison(task, source, systems, minutes, Path(out), seed, columns, fresh).run()


def _kept_dtype(out: Path, choice: str) -> str:
    """What an earlier run of this comparison computed in, where the choice was left to the machine."""
    run = out / "run.json"
    if choice != "auto" or not run.exists():
        return choice
    return str(json.loads(run.read_text(encoding="utf-8"))["key"].get("dtype", choice))


class _Comparison:
    """One run: plan, then untrained arms, then trained ones (raced if need be), then the choice, then the test."""

    def __init__(
        self,
        task: str,
        source: Any,
        systems: Sequence[str] | None,
        minutes: float,
        out: Path,
        seed: int,
        columns: Mapping[str, str] | None,
        fresh: bool,
    ) -> None:
        self.started = time.monotonic()
        self.task = task_named(task)
        self.arms = choose(task, systems)
        self.minutes, self.out, self.seed = minutes, out, seed
        self.data = self.task.read(source if source is not None else self.task.default_data, columns)
        self.metric = self.task.metric_of(self.data)
        self.notes: list[str] = list(self.task.describe(self.data)["notes"])
        self.usual = systems is None
        self.named = systems is not None and list(systems) != ["all"]
        self.arms = self._able()
        self.spent_before = self._open(fresh)
        self.places = {arm.label: Place(out / "arms", arm) for arm, _ in self.arms}
        self.models: dict[str, Model] = {}
        self.serving: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {}
        self.measured = {arm.label: self._known(arm, system) for arm, system in self.arms}

    @property
    def spent(self) -> float:
        """Seconds that this comparison has taken, over all its runs."""
        return self.spent_before + time.monotonic() - self.started

    def run(self) -> dict[str, Any]:
        try:
            with keeping() as self.kept, progress.stage("compare", total=self.minutes * 60) as stage:
                stage.read = lambda: self.spent
                plan = self._plan()
                self.data = self.task.cut(self.data, plan["share"]) if plan["share"] < 1 else self.data
                for arm, system in self.arms:
                    if not system.trains:
                        self._advance(arm, system, plan, 1.0)
                self._train(plan)
                chosen = self._choose()
                for arm, _ in self.arms:
                    self._test(arm)
                self._ready(chosen)
                return self._report(plan, chosen)
        finally:
            self._keep_time()

    def _able(self) -> list[tuple[Arm, ModelSystem]]:
        """The arms that can work with the data; one that was named and cannot is an error, others are told of."""
        able = []
        for arm, system in self.arms:
            reason = system.serves(self.data)
            if reason is None and self.usual and (wait := system.waits_for(self.seed)) is not None:
                reason = f"{wait}; name it in --systems for that"
            if reason is None:
                able.append((arm, system))
            elif self.named:
                raise UserError(f"{arm.label} cannot take part: {reason}; leave it out of --systems")
            else:
                self.notes.append(f"{arm.label} takes no part: {reason}")
        if not able:
            raise UserError(f"no system of {self.task.name!r} can work with {self.task.describe(self.data)['name']}")
        return able

    def _open(self, fresh: bool) -> float:
        """Seconds spent by earlier runs of the same comparison in this folder."""
        described = self.task.describe(self.data)
        self.key = {
            "format": FORMAT,
            "task": self.task.name,
            "data": described["fingerprint"],
            "arms": [arm.label for arm, _ in self.arms],
            "minutes": self.minutes,
            "seed": self.seed,
            "dtype": computing.dtype(),
        }
        run = self.out / "run.json"
        if fresh and run.exists():
            shutil.rmtree(self.out)
        if self.out.exists() and any(self.out.iterdir()):
            if not run.exists():
                raise UserError(f"{self.out} holds something else; name another folder with -o")
            known = json.loads(run.read_text(encoding="utf-8"))
            if known["key"] != self.key:
                changed = ", ".join(k for k in self.key if known["key"].get(k) != self.key[k])
                raise UserError(
                    f"{self.out} holds a comparison with other {changed}; "
                    "name another folder with -o, or throw it away with --fresh"
                )
            return float(known["spent"])
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(run, {"key": self.key, "spent": 0.0})
        return 0.0

    def _keep_time(self) -> None:
        write_json(self.out / "run.json", {"key": self.key, "spent": round(self.spent, 1)})

    def _model(self, label: str) -> Model:
        """The trained model of an arm, read once: what it has encoded serves latency, test and index alike."""
        if label not in self.models:
            self.models[label] = load(self.places[label].model)
        return self.models[label]

    def _requests(self, label: str) -> tuple[Callable[[Any], Any], Sequence[Any]]:
        """What serves requests of the test part, and these; what is encoded for it, the test finds done."""
        if label not in self.serving:
            self.serving[label] = self.task.requests(self._model(label), self.data)
        return self.serving[label]

    def _known(self, arm: Arm, system: ModelSystem) -> Measured:
        known = self.places[arm.label].load()
        return known or Measured(arm.id, arm.label, dict(arm.options), system.card.title, system.trains)

    def _plan(self) -> dict[str, Any]:
        """The plan, made once and kept: a run that goes on keeps the budgets it began with."""
        file = self.out / "plan.json"
        if file.exists():
            kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return kept
        seconds, late = pilots.SHARE * self.minutes * 60, None if self.named else self._late
        found = pilots.pilot(self.task, self.arms, self.data, seconds, self._failed, late)
        names = [arm.label for arm, system in self.arms if system.trains]
        if not self.named:
            for label in planning.too_slow(found, names, self.minutes, self.spent):
                measured, needed = self.measured[label], found.pop(label).whole / 60
                measured.status = f"left out: it needs about {needed:,.0f} minutes here for the whole data"
                self.places[label].save(measured)
        trained = len(found.keys() & set(names))
        plan = planning.decide(found, trained, self.minutes, self.spent)
        costs = {label: asdict(cost) for label, cost in found.items()}
        made = {**plan.as_dict(), "trained": trained, "costs": costs, "train_seconds": None}
        write_json(file, made)
        return made

    def _train(self, plan: dict[str, Any]) -> None:
        """Gives every trained arm the same seconds; halves the field at each rung when they are raced."""
        trained = [(arm, system) for arm, system in self.arms if system.trains and arm.label in plan["costs"]]
        if not trained:
            return
        if plan["train_seconds"] is None:
            left = max(0.0, self._left(plan, trained))
            shortest = min(2.0, planning.SHORTEST)
            each = planning.race_budget(left, len(trained)) if plan["raced"] else left / len(trained)
            plan["train_seconds"] = round(max(shortest, each), 1)
            write_json(self.out / "plan.json", plan)
        for rung in planning.RUNGS if plan["raced"] else (1.0,):
            alive = [(arm, system) for arm, system in trained if self.measured[arm.label].alive]
            for arm, system in alive:
                self._advance(arm, system, plan, rung)
            if rung < 1:
                self._halve([arm for arm, _ in alive], rung)

    def _left(self, plan: Mapping[str, Any], trained: Sequence[tuple[Arm, ModelSystem]]) -> float:
        """Seconds for training, once all that can be is done that does not wait for it."""
        costs = {label: planning.Cost(**cost) for label, cost in plan["costs"].items()}
        judged, encoded = {}, {}
        for label, measured in self.measured.items():
            if measured.validate_seconds is not None and not measured.trains:
                judged[label] = planning.Done(plan["share"] * costs[label].validate, measured.validate_seconds)
                encoded[label] = _seconds(partial(self._requests, label))
        prepared = self._prepare(plan["share"], costs, trained)
        names = [arm.label for arm, _ in trained]
        reserved = planning.reserve(costs, names, plan["share"], plan["raced"], judged, prepared, encoded)
        return self.minutes * 60 - self.spent - reserved

    def _prepare(
        self, share: float, costs: Mapping[str, planning.Cost], trained: Sequence[tuple[Arm, ModelSystem]]
    ) -> dict[str, planning.Done]:
        """Lets the first arm that has much of it do what is kept: how long that takes is then known, not guessed."""
        for arm, system in trained:
            planned, before = share * costs[arm.label].kept, self.kept.spent
            if planned > planning.WORTH * self.minutes * 60:
                with progress.stage(f"prepare {arm.label}"):
                    system.rehearse(self.data)
                return {arm.label: planning.Done(planned, self.kept.spent - before)}
        return {}

    def _halve(self, arms: list[Arm], rung: float) -> None:
        """Drops the worse half by validation; an arm that was dropped before stays so."""
        running = [a for a in arms if self.measured[a.label].alive and self.measured[a.label].share <= rung]
        if len(running) < len(arms):
            return  # decided in an earlier run
        ranked = sorted(running, key=lambda a: self._sign * -(self.measured[a.label].validation or 0.0))
        for arm in ranked[max(1, len(ranked) // 2) :]:
            measured = self.measured[arm.label]
            measured.status = f"dropped at {rung:.0%} of the budget"
            self.places[arm.label].save(measured)

    @property
    def _sign(self) -> float:
        return 1.0 if self.task.direction == "higher" else -1.0

    def _advance(self, arm: Arm, system: ModelSystem, plan: Mapping[str, Any], share: float) -> None:
        """Brings one arm to a share of its budget and measures it on the validation part."""
        measured, place = self.measured[arm.label], self.places[arm.label]
        if not measured.alive or measured.share >= share:
            return
        budget = Seconds(plan["train_seconds"] or 1.0)
        started, saved = time.perf_counter(), self.kept.saved
        try:
            with progress.stage(arm.label), costs.peak_memory() as peak:
                fitted = system.fit(self.data, budget, seed=self.seed, folder=place.training, until=share)
                seconds = time.perf_counter() - started
                if measured.share == 0:
                    seconds += self.kept.saved - saved  # what another arm did for it; alone, it would take so long
                judging = time.perf_counter()
                evaluation = self.task.evaluate(fitted.model, self.data, "validation")
                measured.validate_seconds = time.perf_counter() - judging
        except UserError as error:
            self._failed(arm, error)
            return
        measured.validation = evaluation.figures[self.metric]
        measured.parameters = fitted.model.parameters
        measured.train_seconds = (measured.train_seconds or 0.0) + seconds if system.trains else seconds
        measured.peak_mb = max(measured.peak_mb or 0.0, peak.megabytes or 0.0) or None
        if fitted.history is not None:
            measured.curve = fitted.history.curve
        measured.rungs.append({"share": share, "validation": measured.validation})
        fitted.model.save(place.model)
        measured.megabytes = costs.folder_bytes(place.model) / 1e6
        place.save_items(**findings.items_of("validation", evaluation))
        measured.share = share
        place.save(measured)

    def _failed(self, arm: Arm, error: UserError) -> None:
        """Leaves an arm out that cannot do its work, as long as another can."""
        measured = self.measured[arm.label]
        measured.status = f"failed: {error}"
        if not any(each.alive or each.share for each in self.measured.values()):
            raise error
        self.places[arm.label].save(measured)

    def _late(self, arm: Arm) -> None:
        """Leaves an arm out for which the minutes do not suffice, as nobody asked for it by name."""
        measured = self.measured[arm.label]
        measured.status = "left out: the minutes did not suffice to look at it; give more, or name it in --systems"
        self.places[arm.label].save(measured)

    def _choose(self) -> Measured | None:
        """The recommended arm, by validation alone; latencies are measured here, arms interleaved."""
        finished = [m for m in self.measured.values() if m.alive and m.share == 1.0]
        waiting = [m for m in finished if m.latency_ms is None]
        if waiting:
            with progress.stage("latency", total=len(finished)):
                serving = {measured.label: self._requests(measured.label) for measured in finished}
                for label, taken in latency.serving(serving).items():
                    self.measured[label].latency_ms = {"median": taken.median, "p95": taken.p95}
                    self.places[label].save(self.measured[label])
        items = {m.label: self.places[m.label].items() for m in finished}
        weights = findings.weights_of("validation", items.values())
        return recommend(finished, {k: found["validation"] for k, found in items.items()}, self._sign, weights)

    def _test(self, arm: Arm) -> None:
        """The figures that are shown."""
        measured, place = self.measured[arm.label], self.places[arm.label]
        if measured.quality is not None or not place.model.exists():
            return
        with progress.stage(f"test {arm.label}"):
            evaluation = self.task.evaluate(self._model(arm.label), self.data, "test")
        interval = statistics.bootstrap(evaluation.items, seed=self.seed, weights=evaluation.weights)
        measured.quality = {"mean": interval.mean}
        if interval.n > 1:
            measured.quality |= {"low": interval.low, "high": interval.high}
        measured.figures = evaluation.figures
        measured.tables = [asdict(table) for table in evaluation.tables]
        measured.in_use = {**_training_speed(measured.curve), **self.task.in_use(self._model(arm.label))}
        if measured.alive:
            measured.status = "measured"
        place.save_items(**findings.items_of("test", evaluation))
        place.save(measured)

    def _ready(self, chosen: Measured | None) -> None:
        """Writes the recommended model, ready to use on the whole data."""
        if chosen is None:
            return
        best = self.out / "best"
        if best.exists():
            return
        with progress.stage("make the best one ready"):
            self.task.ready(self._model(chosen.label), self.data).save(best)

    def _report(self, plan: Mapping[str, Any], chosen: Measured | None) -> dict[str, Any]:
        """Writes `compare.json` and `report.html`."""
        items = {label: place.items() for label, place in self.places.items()}
        tested = {label: found["test"] for label, found in items.items() if "test" in found}
        judged = max((len(found["validation"]) for found in items.values() if "validation" in found), default=0)
        weights = findings.weights_of("test", items.values())
        data = {
            "format": FORMAT,
            **findings.of(self.task, self.metric, list(self.measured.values()), tested, chosen, self.seed, weights),
            "data": self.task.describe(self.data),
            "best": str(self.out / "best") if chosen is not None else None,
            "notes": [
                *findings.about(
                    plan,
                    computing.dtype(),
                    judged,
                    weighted=weights is not None,
                    minutes=(self.minutes, self.spent / 60),
                    tested=max(map(len, tested.values()), default=0),
                ),
                *self.notes,
            ],
            "budget": findings.budget(plan, self.minutes),
            "spent_minutes": round(self.spent / 60, 2),
            "environment": costs.environment(),
        }
        write_json(self.out / "compare.json", data)
        (self.out / "report.html").write_text(reports.compare.render(data), encoding="utf-8")
        return data


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _training_speed(curve: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Tokens a second over all of the training, where it counted them."""
    last = curve[-1] if curve else {}
    if not last.get("tokens") or not last.get("seconds"):
        return {}
    return {"training_tokens_per_second": last["tokens"] / last["seconds"]}
