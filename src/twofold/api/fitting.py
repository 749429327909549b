"""One training run and its folder: what it is, whether it is done, and where it goes on."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twofold import computing, progress
from twofold.api import places
from twofold.api.chains import Source, configured
from twofold.catalog import Arm, Budget, Seconds
from twofold.catalog.claims import budget_dict
from twofold.checkpoints import folder
from twofold.checkpoints.plain import write_json
from twofold.errors import UserError, unknown
from twofold.tasks import Model, ModelSystem, Task, load
from twofold.tasks import task as task_named
from twofold.training import distributed

TRAINING = ".training"
"""Beside the model's folder `model`, `model.training` holds an unfinished run."""


@dataclass(frozen=True)
class Fit:
    """A system that is about to be trained.

    Args:
        identity: what makes two runs the same: system, options, data, budget, seed, dtype; JSON-able.
    """

    system: ModelSystem
    task: Task
    data: Any
    budget: Budget
    seed: int
    identity: dict[str, Any]

    def go(self, out: str | Path | None = None, fresh: bool = False) -> Model:
        """The trained model; written to `out`, where an unfinished run goes on and a finished one is taken.

        Under `torchrun` every process trains, and the first one writes.

        Raises:
            UserError: `out` holds another model, or another unfinished run.
        """
        if out is None:
            return self._train(None)
        place = Path(out)
        if places.holds_model(place) and not fresh:
            self._check_same(place)
            warnings.warn(f"{place} was made by the same run before; --fresh makes it again", stacklevel=3)
            return load(place, computing.device())
        work = place.with_name(place.name + TRAINING)
        first = distributed.join()[0] == 0
        begun = work.exists() and not fresh
        if first:
            self._open(work, fresh)
        distributed.agreed(0, torch.device("cpu"))  # under torchrun, the others wait until the folder is open
        try:
            model = self._train(work / "checkpoint")
        except UserError:
            if first and not begun and not (work / "checkpoint").exists():
                shutil.rmtree(work)  # nothing was trained, and the corrected call is another run
            raise
        if first:
            model.save(place)
            shutil.rmtree(work)
        return model

    def _train(self, checkpoints: Path | None) -> Model:
        with progress.stage(f"fit {self.system.id}"):
            model = self.system.fit(self.data, self.budget, seed=self.seed, folder=checkpoints).model
            if distributed.rank() == 0:
                self.task.ready(model, self.data)
        model.history[-1]["report"]["run"] = self.identity["run"]
        return model

    def _check_same(self, place: Path) -> None:
        history = folder.read(place).history
        nothing: dict[str, Any] = {"id": "no system", "options": {}, "report": {}}
        made = history[-1] if history else nothing
        was = {"id": made["id"], "options": made["options"], "run": made["report"].get("run", {})}
        if was != self.identity:
            raise UserError(
                f"{place} holds a model that differs from this one in {_different(was, self.identity)}; "
                "give another folder with -o, or replace it with --fresh"
            )

    def _open(self, work: Path, fresh: bool) -> None:
        """Makes the folder of the unfinished run, or checks that the one there is of the same run."""
        file = work / "run.json"
        if fresh:
            shutil.rmtree(work, ignore_errors=True)
        elif file.exists():
            was = json.loads(file.read_text(encoding="utf-8"))
            if was != self.identity:
                raise UserError(
                    f"{work} holds an unfinished run that differs from this one in {_different(was, self.identity)}; "
                    "give another folder with -o, or throw that run away with --fresh"
                )
        work.mkdir(parents=True, exist_ok=True)
        write_json(file, self.identity)


def plan(
    system: str | Arm,
    options: Mapping[str, Any],
    data: Source | None,
    *,
    task: str | None = None,
    minutes: float = 5.0,
    budget: Budget | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
) -> Fit:
    """Everything that can be wrong is found here, before anything is trained.

    Raises:
        UserError: an unknown system, task or option, a budget that is none, or data that cannot be read.
    """
    if minutes <= 0:
        raise UserError(f"{minutes:g} minutes are no time to train in; give more than 0")
    made: ModelSystem = configured(system, options, "model")
    if task is not None and task not in made.card.tasks:
        raise unknown(f"task of {made.id}", task, made.card.tasks)
    made.check()
    job = task_named(task or made.card.tasks[0])
    read = job.read(job.default_data if data is None else data, columns)
    spent = budget or Seconds(minutes * 60)
    described = job.describe(read)
    if reason := made.serves(read):
        raise UserError(f"{made.id} cannot learn from {described['name']}: {reason}")
    run: dict[str, Any] = {"task": job.name, "data": described["name"], "fingerprint": described["fingerprint"]}
    if made.trains:
        run |= {"budget": budget_dict(spent), "seed": seed, "dtype": computing.dtype()}
    identity = json.loads(json.dumps({"id": made.id, "options": made.options(), "run": run}))
    return Fit(made, job, read, spent, seed, identity)


def _different(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Names what two runs differ in, such as `options (lr), seed`."""
    if was.get("id") != now["id"]:
        return f"system ({was.get('id')})"
    names = []
    before, after = was.get("options", {}), now["options"]
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed:
        names.append(f"options ({', '.join(changed)})")
    run = was.get("run", {})
    names += [name for name in now["run"] if name != "fingerprint" and run.get(name) != now["run"][name]]
    if not names or ("data" not in names and run.get("fingerprint") != now["run"]["fingerprint"]):
        names.append("data")
    return ", ".join(names)
