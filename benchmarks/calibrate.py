"""The hardest sizes of each made sequence task that plain attention still solves within half of a claim's steps.

    python benchmarks/calibrate.py [--only mqar,chase] [--data docs/data/calibrated.json]

A claim about mixers says nothing where its baseline stands at the floor or at the ceiling. So each task has a ladder of
sizes from easy to hard, and dense causal attention (two layers of width 64, four heads, rotary positions, each mixer
reading through a convolution of width 3) climbs it: 200 steps of 32 sequences at a rate of 3e-3, one seed. A rung is
solved at 95 % of what can be had: of accuracy, or of the R² of the best answer there is. It stops at the first rung
that is not. A claim whose baseline is attention says little beyond the last rung that was solved. A run goes on where
another stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from twofold.catalog import Steps, configure
from twofold.cli.files import write_text
from twofold.data.made import sequences
from twofold.data.made.signals import LinearInContext
from twofold.measure import costs
from twofold.tasks import task

STEPS, SOLVED = 200, 0.95
SIZES = {"dim": 64, "layers": 2, "heads": 4, "batch": 32, "conv": 3, "lr": 3e-3}

LADDERS = {
    "mqar": ("time=32, pairs=4, symbols=32", "time=64, pairs=4, symbols=32", "time=64, pairs=8, symbols=64", ""),
    "copy-memory": ("delay=20, count=5", "delay=50", "", "delay=200", "delay=400"),
    "selective-copy": ("time=16, count=2", "time=24, count=4", "time=32, count=4", ""),
    "chase": ("hops=1, size=4, asked=4", "hops=1, size=8, asked=8", "hops=1", ""),
    "count3": ("time=4, prefix=2", "time=6, prefix=3", "time=8, prefix=4", ""),
    "mirror": ("rows=8, width=8", "rows=8, width=16", "", "rows=32, width=32"),
    "where": ("time=16", "time=32", "", "time=128", "time=256"),
    "seq-digits": ("", "permuted=1", "permuted=1, noise=64"),
    "needle": ("time=80", "", "time=256"),
    "adding": ("time=20", "time=50", "", "time=200", "time=400"),
    "icl-linear": ("dim=1, points=8", "dim=2, points=16", "", "dim=8, points=32"),
}
"""Sizes from easy to hard; "" stands for the defaults."""


def attainable(setting: str) -> float:
    """The figure of the best answer: 1, but for a linear map of which the first points say too little."""
    made = sequences.parse(setting)
    if isinstance(made, LinearInContext):
        # The k-th point is answered up to the part of it that the k - 1 points before it do not span.
        known = sum(min(k, made.dim) / made.dim for k in range(made.points))
        return known / made.points
    return 1.0


def climbed(setting: str) -> dict[str, Any]:
    """One rung."""
    judge = task("solve")
    data = judge.read(setting)
    fitted = configure("backbone", backbone="attention", **SIZES).fit(data, Steps(STEPS), seed=0)
    figures = judge.evaluate(fitted.model, data, "validation").figures
    metric = judge.metric_of(data)
    share = float(figures[metric]) / attainable(setting)
    return {"figure": metric, "value": float(figures[metric]), "share": share}


def run(file: Path, chosen: list[str]) -> dict[str, Any]:
    """Climbs what was not climbed yet; written after each rung."""
    plan = {"steps": STEPS, "solved": SOLVED, **SIZES}
    found: dict[str, Any] = {"plan": plan, "environment": costs.environment(), "tasks": {}}
    if file.exists():
        old = json.loads(file.read_text(encoding="utf-8"))
        found = old if old["plan"] == plan else found
    for name in chosen:
        rungs = found["tasks"].setdefault(name, {})
        for sizes in LADDERS[name]:
            setting = f"{name}({sizes})" if sizes else name
            if setting not in rungs:
                rungs[setting] = climbed(setting)
                print(
                    f"{setting}: {rungs[setting]['figure']} {rungs[setting]['share']:.1%} of what can be had",
                    flush=True,
                )
                write_text(json.dumps(found, indent=1) + "\n", file)
            if rungs[setting]["share"] < SOLVED:
                break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="names of some, with commas between them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("docs/data/calibrated.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    run(given.data, given.only.split(",") if given.only else list(LADDERS))


if __name__ == "__main__":
    main()
