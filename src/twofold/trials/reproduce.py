"""Claims, measured again: baseline and method side by side, paired, and recorded whichever way it comes out."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from twofold import progress
from twofold.catalog import Arm, Claim, resolve
from twofold.catalog import index as catalog_index
from twofold.checkpoints import cache_dir
from twofold.data import NAMES, read
from twofold.errors import UserError, unknown
from twofold.measure import costs, verdicts
from twofold.tasks import Task
from twofold.tasks import task as task_named
from twofold.trials import records, traces
from twofold.trials.arms import write_json
from twofold.trials.outcome import Outcome, by_study, data_of, latencies, run

TUNING_STEPS = 100
SPARE_SEED = 9_999  # never enters a verdict


def reproduce(
    id: str,
    *,
    repeats: int | None = None,
    first_seed: int = 0,
    retune: bool = False,
    timings: bool = False,
    side: bool = True,
    dry_run: bool = False,
    folder: str | Path | None = None,
    data: str | None = None,
    columns: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Measures a system's claim again and records the outcome.

    Every finished run is kept, so an interrupted call goes on; the same seeds give the same figures.

    Args:
        id: of a system with a claim.
        repeats: how many paired repeats; by default as the claim says.
        first_seed: of the first repeat; a final verdict after changes takes fresh seeds.
        retune: run the tuning again instead of taking what is kept of it.
        timings: measure times too, alone on the machine, arms interleaved.
        side: run the side arms as well.
        dry_run: measure without writing a record (works from changed code).
        folder: where the record goes; by default beside the package's others.
        data: other data than the claim's, a file, a folder or a name. The arms take the options that the record names;
            what comes out goes into the record's checks, and its verdict stays what it is.
        columns: the task's column names to those of the other data.
        options: in place of those of both arms, where these do not suit the other data; the check names them.

    Returns:
        The record.

    Raises:
        UserError: no such system, it has no claim, or the checkout has changes that are not committed; with other data,
            no fresh record, a claim that makes its own data, or an option that neither arm has.
    """
    cls: Any = resolve(id)
    claim: Claim | None = cls.claim
    if claim is None:
        raise UserError(f"{id} has no claim to reproduce: it is a baseline")
    place = Path(folder) if folder is not None else None
    commit = None if dry_run else records.commit()
    repeats = repeats or claim.repeats
    if data is not None:
        if not fresh(id, place):
            raise UserError(f"{id} has no fresh record that other data could be added to; run: twofold reproduce {id}")
        elsewhere = _Elsewhere(id, claim, cls, repeats, first_seed, retune, place, data, columns, options or {})
        return elsewhere.run(commit, dry_run)
    if options:
        raise UserError("the claim sets the options of its arms; others go with --data only")
    return _Reproduction(id, claim, cls, repeats, first_seed, retune, place).run(side, timings, commit, dry_run)


class _Reproduction:
    def __init__(
        self, id: str, claim: Claim, cls: Any, repeats: int, first_seed: int, retune: bool, folder: Path | None
    ) -> None:
        self.id, self.claim, self.cls = id, claim, cls
        self.seeds = range(first_seed, first_seed + repeats)
        self.folder, self.retune = folder, retune
        study = by_study(claim, cls)
        self.task: Task | None = None if study else task_named(claim.task or cls.card.tasks[0])
        self.before = records.read(id, folder)
        self.traces = {arm.label: traces.trace(arm, study) for arm in (*claim.arms, *claim.side)}
        self.data = data_of(claim, study)

    def run(self, side: bool, timings: bool, commit: str | None, dry_run: bool) -> dict[str, Any]:
        arms = [self._tuned(arm) for arm in self.claim.arms]
        beside = [self._beside(arm, arms[1][0]) for arm in self.claim.side] if side else []
        with progress.stage(f"claim of {self.id}", total=len(arms) * len(self.seeds) + len(beside)) as stage:
            runs: dict[str, list[Outcome]] = {arm.label: [] for arm, _ in arms}
            for seed in self.seeds:
                for arm, _ in arms:
                    runs[arm.label].append(self._kept(arm, seed))
                    stage.advance(note=f"{arm.label}, {self.claim.repeat} {seed}")
            extra = {}
            for arm, _ in beside:
                extra[arm.label] = self._kept(arm, self.seeds[0])
                stage.advance(note=arm.label)
        record = self._record(arms, runs, beside, extra, commit)
        if timings:
            record["timings"] = self._timings([arm for arm, _ in arms])
        if not dry_run:
            records.write(record, self.folder)
        return record

    def _kept(self, arm: Arm, seed: int, part: str = "test", steps: int | None = None, again: bool = False) -> Outcome:
        """A run, or what is kept of it from before (unless it is wanted again)."""
        key = [arm.id, arm.options, asdict(self.claim)["setting"], self.claim.data, self.data["fingerprint"]]
        key += [self.claim.as_dict().get("budget"), self.claim.metric, seed, part, steps, self.traces.get(arm.label)]
        name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:24]
        file = cache_dir() / "runs" / self.id / f"{name}.json"
        if file.exists() and not again:
            return Outcome(**json.loads(file.read_text(encoding="utf-8")))
        outcome = run(arm, self.claim, self.task, seed, part, steps)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(outcome))
        return outcome

    def _tuned(self, arm: Arm) -> tuple[Arm, dict[str, Any] | None]:
        """The arm with its tuned options, those that it has, chosen on validation with a spare seed, and the scores."""
        known = getattr(resolve(arm.id), "__dataclass_fields__", {})
        chosen, scores = dict(arm.options), {}
        better = max if self.claim.direction == "higher" else min
        for option, candidates in self.claim.tune.items():
            if option not in known:
                continue
            found = {}
            for value in candidates:
                trial = Arm(arm.id, **{**chosen, **self.claim.trial, option: value})
                outcome = self._kept(trial, SPARE_SEED, "validation", TUNING_STEPS, again=self.retune)
                found[value] = outcome.figures[self.claim.tune_by or self.claim.metric]
            chosen[option] = better(found, key=lambda v: found[v])
            scores[option] = {str(k): round(v, 4) for k, v in found.items()}
        return Arm(arm.id, **chosen), scores or None

    def _beside(self, arm: Arm, method: Arm) -> tuple[Arm, None]:
        """A side arm: it takes what was chosen for the method, where it has those options and does not set them."""
        known = getattr(resolve(arm.id), "__dataclass_fields__", {})
        taken = {k: method.options[k] for k in self.claim.tune if k in known and k in method.options}
        return Arm(arm.id, **{**taken, **arm.options}), None

    def _record(
        self,
        arms: Sequence[tuple[Arm, dict[str, Any] | None]],
        runs: dict[str, list[Outcome]],
        beside: Sequence[tuple[Arm, dict[str, Any] | None]],
        extra: dict[str, Outcome],
        commit: str | None,
    ) -> dict[str, Any]:
        verdict = self._verdict(*(runs[arm.label] for arm, _ in arms))
        before, configuration = self.before or {}, [arm.label for arm, _ in arms]
        tried, elsewhere = list(before.get("tries", [])), checks_elsewhere(before)
        known = before.get("traces", {})
        same_code = all(traces.close(known.get(label), now) for label, now in self._trace_digests().items())
        if before and not (same_code and _asked(before["claim"]) == _asked(self.claim.as_dict())):
            told = {k: before[k] for k in ("verdict", "why", "effect", "commit", "configuration") if k in before}
            tried.append({**told, "data": before["claim"]["data"], "budget": before["claim"].get("budget")})
        if not same_code or before.get("configuration") != configuration:
            elsewhere = []  # they are of other arms
        return {
            "id": self.id,
            "verdict": verdict.name,
            "why": verdict.why,
            "claim": self.claim.as_dict(),
            "arms": [self._arm(arm, scores, runs[arm.label]) for arm, scores in arms],
            "effect": asdict(verdict.effect),
            "checks": [*(self._arm(arm, scores, [extra[arm.label]]) for arm, scores in beside), *elsewhere],
            "tries": tried,
            "data": self.data,
            "seeds": list(self.seeds),
            "traces": self._trace_digests(),
            "configuration": configuration,
            "commit": commit,
            "environment": costs.environment(),
        }

    def _verdict(self, baseline: Sequence[Outcome], method: Sequence[Outcome]) -> verdicts.Verdict:
        metric = self.claim.metric
        return verdicts.decide(
            self.claim,
            [o.figures[metric] for o in baseline],
            [o.figures[metric] for o in method],
            saving=self._saving(baseline, method),
            guards=[_mean(baseline if g.of == "baseline" else method, g.figure) for g in self.claim.guards],
        )

    def _saving(self, baseline: Sequence[Outcome], method: Sequence[Outcome]) -> float | None:
        if self.claim.saving is None:
            return None
        return _mean(method, self.claim.saving.figure) / _mean(baseline, self.claim.saving.figure)

    def _trace_digests(self) -> dict[str, list[float]]:
        return {arm.label: self.traces[arm.label] for arm in self.claim.arms}

    @staticmethod
    def _arm(arm: Arm, scores: dict[str, Any] | None, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        names = outcomes[0].figures
        out: dict[str, Any] = {
            "id": arm.id,
            "options": dict(arm.options),
            "figures": {n: [round(o.figures[n], 6) for o in outcomes] for n in names},
            "costs": {n: [round(o.costs[n], 3) for o in outcomes] for n in outcomes[0].costs},
        }
        if scores:
            out["tuning"] = scores
        return out

    def _timings(self, arms: Sequence[Arm]) -> dict[str, Any]:
        """Milliseconds a request, arms interleaved in this process, and the method's ratio to the baseline.

        Raises:
            UserError: the system is a study, which serves no requests.
        """
        if self.task is None:
            raise UserError(f"{self.id} is a study: it serves no requests that could be timed")
        found = latencies(arms, self.claim, self.task, self.seeds[0])
        baseline, method = (found[arm.label] for arm in arms)
        figures = {label: {"median_ms": round(t.median, 3), "p95_ms": round(t.p95, 3)} for label, t in found.items()}
        return {"arms": figures, "ratio": round(method.median / baseline.median, 3)}


class _Elsewhere(_Reproduction):
    """The primary comparison of a claim on other data, with the options that its record names."""

    def __init__(
        self,
        id: str,
        claim: Claim,
        cls: Any,
        repeats: int,
        first_seed: int,
        retune: bool,
        folder: Path | None,
        data: str,
        columns: Mapping[str, str] | None,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(id, claim, cls, repeats, first_seed, retune, folder)
        self.options = options
        known = {option.name for arm in claim.arms for option in fields(resolve(arm.id))}
        for name in options:
            if name not in known:
                raise unknown("option", name, known)
        if self.task is not None:
            described = self.task.describe(self.task.read(data, columns))
        elif claim.data in NAMES:
            rows = read(data, columns=columns)
            described = {"name": rows.name, "fingerprint": rows.fingerprint}
        else:
            raise UserError(f"{id} is measured by a study that makes its data; other data cannot take their place")
        self.claim = replace(claim, data=data, further=(), columns=columns or {})
        # A folder's own name; where it lies is nobody's business.
        self.data = {"name": Path(described["name"]).name, "fingerprint": described["fingerprint"]}

    def run(self, commit: str | None, dry_run: bool) -> dict[str, Any]:  # type: ignore[override]
        record = self.before
        assert record is not None
        arms = [Arm(arm["id"], **{**arm["options"], **self._own(arm["id"])}) for arm in record["arms"]]
        self.traces = {
            arm.label: record["traces"].get(label) for arm, label in zip(arms, record["traces"], strict=True)
        }
        runs: list[list[Outcome]] = [[] for _ in arms]
        with progress.stage(f"claim of {self.id} on {self.data['name']}", total=len(arms) * len(self.seeds)) as stage:
            for seed in self.seeds:
                for arm, outcomes in zip(arms, runs, strict=True):
                    outcomes.append(self._kept(arm, seed))
                    stage.advance(note=f"{arm.label}, {self.claim.repeat} {seed}")
        verdict, metric = self._verdict(*runs), self.claim.metric
        figures = [[round(o.figures[metric], 6) for o in outcomes] for outcomes in runs]
        check = {
            "data": self.data,
            **({"options": dict(self.options)} if self.options else {}),
            "verdict": verdict.name,
            "why": verdict.why,
            "figures": dict(zip(("baseline", "method"), figures, strict=True)),
            "effect": asdict(verdict.effect),
            "seeds": list(self.seeds),
            "commit": commit,
        }
        others = [c for c in record["checks"] if c.get("data", {}).get("name") != self.data["name"]]
        record = {**record, "checks": [*others, check]}
        if not dry_run:
            records.write(record, self.folder)
        return record

    def _own(self, id: str) -> dict[str, Any]:
        """Those of the other options that an arm has."""
        known = {option.name for option in fields(resolve(id))}
        return {name: value for name, value in self.options.items() if name in known}


def _asked(claim: Mapping[str, Any]) -> Any:
    """What of a claim decides its outcome, as a file has it."""
    words = ("says", "paper", "minutes", "side")
    return json.loads(json.dumps({k: v for k, v in claim.items() if k not in words}, default=list))


def checks_elsewhere(record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Those checks of a record that are the claim on other data."""
    return [check for check in (record or {}).get("checks", ()) if "data" in check]


def _mean(outcomes: Sequence[Outcome], figure: str) -> float:
    return sum({**o.costs, **o.figures}[figure] for o in outcomes) / len(outcomes)


def fresh(id: str, folder: Path | None = None) -> bool:
    """Whether a system's record still speaks of the code and data that are here."""
    record = records.read(id, folder)
    if record is None:
        return False
    cls: Any = resolve(id)
    claim: Claim = cls.claim
    if json.loads(json.dumps(claim.as_dict(), default=list)) != record["claim"]:
        return False
    study = by_study(claim, cls)
    if data_of(claim, study)["fingerprint"] != record["data"]["fingerprint"]:
        return False
    return all(traces.close(record["traces"].get(arm.label), traces.trace(arm, study)) for arm in claim.arms)


def pending(jobs: int = 1, *, folder: str | Path | None = None) -> dict[str, str]:
    """Reproduces every claim without a fresh record, each in a process of its own with one thread.

    Returns:
        The verdict, or what went wrong, by id.
    """
    place = Path(folder) if folder is not None else None
    waiting = [c["id"] for c in catalog_index.cards() if "claim" in c and not fresh(c["id"], place)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    verdict: dict[str, str] = {}
    running: dict[str, subprocess.Popen[bytes]] = {}
    with progress.stage("pending claims", total=len(waiting)) as stage:
        while waiting or running:
            while waiting and len(running) < jobs:
                id = waiting.pop(0)
                command = [sys.executable, "-m", "twofold", "reproduce", id, "--quiet"]
                command += ["--records", str(folder)] if folder is not None else []
                running[id] = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            id, process = next(iter(running.items()))
            code = process.wait()
            del running[id]
            record = records.read(id, place)
            verdict[id] = record["verdict"] if code == 0 and record is not None else f"failed with exit code {code}"
            stage.advance(note=f"{id}: {verdict[id]}")
    return verdict
