"""How far plain attention gets on each task of the mixers' claims within half of a claim's steps.

    python benchmarks/calibrate.py [--only mqar,lm] [--data docs/data/calibrated.json]

A claim about mixers says nothing where its baseline stands at the floor or at the ceiling. So dense attention (two
layers of width 64, four heads, rotary positions, each mixer reading through a convolution of width 3) learns every task
for 200 steps of 32 sequences at a rate of 3e-3, one seed, and is judged on validation.

Made sequences have a ladder of sizes from easy to hard. A rung is solved at 95 % of what can be had: of accuracy, or of
the R² of the best answer there is. The ladder ends at the first rung that is not: a claim whose baseline is attention
says little beyond the last that was solved. Texts (`lm`: bits per byte, `mlm`: nats per hidden token, of `pydoc`) have
no answer that can be had exactly, so a rung is a context length, and its share is how much of the way has been gone
from counts of single tokens to counts of tokens beside each other. Problems (`lengen`) of up to 10 symbols are asked at
those lengths, and at up to 20.

A run goes on where another stopped. It ends with the rows of the tables in `docs/data-formats.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from twofold.catalog import Steps, configure
from twofold.cli.files import write_text
from twofold.data.made import algorithms, sequences
from twofold.data.made.signals import LinearInContext
from twofold.measure import costs
from twofold.objectives import IGNORED, mask_tokens
from twofold.tasks import task
from twofold.tasks.represent import MaskedModel, PackedWindows
from twofold.tasks.solve import SolveData

STEPS, SOLVED = 200, 0.95
SIZES = {"dim": 64, "layers": 2, "heads": 4, "batch": 32, "conv": 3, "lr": 3e-3}
TEXTS, RATE = "pydoc", 0.3
SHORT, LONG = 10, 20

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
"""Sizes of made sequences from easy to hard; "" stands for the defaults."""

LENGTHS = {"lm": (32, 64, 128, 256), "mlm": (32, 64, 128)}
"""Tokens of context: bytes, or pieces of words."""

TASKS = (*LADDERS, *LENGTHS, "lengen")


def rungs(name: str) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is measured of a task, each by the name of its data."""
    if name == "lm":
        return {f"lm(length={length})": partial(predicted, length) for length in LENGTHS[name]}
    if name == "mlm":
        return {f"mlm(length={length})": partial(filled_in, length) for length in LENGTHS[name]}
    if name == "lengen":
        return {f"algorithms:{problem}": partial(lengthened, problem) for problem in algorithms.NAMES}
    made = (f"{name}({sizes})" if sizes else name for sizes in LADDERS[name])
    return {setting: partial(climbed, setting) for setting in made}


def attainable(setting: str) -> float:
    """The figure of the best answer: 1, but for a linear map of which the first points say too little."""
    made = sequences.parse(setting)
    if isinstance(made, LinearInContext):
        # The k-th point is answered up to the part of it that the k - 1 points before it do not span.
        known = sum(min(k, made.dim) / made.dim for k in range(made.points))
        return known / made.points
    return 1.0


def climbed(setting: str) -> dict[str, Any]:
    """Made sequences."""
    judge = task("solve")
    data = judge.read(setting)
    fitted = configure("backbone", backbone="attention", **SIZES).fit(data, Steps(STEPS), seed=0)
    figures = judge.evaluate(fitted.model, data, "validation").figures
    metric = judge.metric_of(data)
    share = float(figures[metric]) / attainable(setting)
    return {"figure": metric, "value": float(figures[metric]), "share": share}


def lengthened(problem: str) -> dict[str, Any]:
    """Problems of trained lengths, and of longer ones; drawn from another seed than those of a claim's test."""
    data = SolveData.made(problem, SHORT, LONG, seed=1)
    fitted = configure("backbone", backbone="attention", **SIZES).fit(data, Steps(STEPS), seed=0)
    figures = task("solve").evaluate(fitted.model, data).figures
    inside, beyond = (float(figures[f"token_accuracy_{where}"]) for where in ("in_range", "unseen"))
    return {"figure": "token_accuracy_in_range", "value": inside, "share": inside, "beyond": beyond}


def predicted(length: int) -> dict[str, Any]:
    """Bits per byte of texts, between those of counted bytes and those of counted runs of six."""
    judge = task("language")
    data = judge.read(TEXTS)
    arms = (
        configure("n-gram", order=1),
        configure("n-gram"),
        configure("backbone", backbone="attention", length=length, **SIZES),
    )
    models = [arm.fit(data, Steps(STEPS), seed=0).model for arm in arms]
    floor, yardstick, value = (float(judge.evaluate(m, data, "validation").figures["bits_per_byte"]) for m in models)
    return between("bits_per_byte", value, floor, yardstick)


def filled_in(length: int) -> dict[str, Any]:
    """Nats per hidden token of texts, between those of counted tokens and those of counted neighbours."""
    judge = task("represent")
    data = judge.read(TEXTS)
    arm = configure("masked-backbone", backbone="attention", length=length, mask_rate=RATE, **SIZES)
    model = arm.fit(data, Steps(STEPS), seed=0).model
    assert isinstance(model, MaskedModel)
    value = float(judge.evaluate(model, data, "validation", rate=RATE).figures["masked_loss"])
    seen, asked = (PackedWindows(model.text, data.part(p), length, 1, 0).whole() for p in ("train", "validation"))
    roles = asked.hide.arguments()
    hidden, labels = mask_tokens(asked.ids, RATE, torch.Generator().manual_seed(0), **roles)
    return between("masked_loss", value, *by_counting(seen.ids, hidden, labels, roles["vocab"], roles["mask"]))


def by_counting(
    seen: Int[Tensor, "n time"],
    hidden: Int[Tensor, "m time"],
    labels: Int[Tensor, "m time"],
    vocab: int,
    mask: int,
) -> tuple[float, float]:
    """Nats per hidden token from how often each token occurs, and from which ones stand side by side as well.

    The second takes a text for a chain: p(x | left, right) ∝ p(x | left) p(right | x), each where it is not hidden.
    All pairs have one discount, as in the baseline `n-gram`.

    Args:
        seen: tokens to count.
        hidden, labels: tokens of which some are hidden, and those that are asked for.
        vocab, mask: how many tokens there are, and which stands for a hidden one.
    """
    alone = torch.bincount(seen.flatten(), minlength=vocab) + 1.0
    alone /= alone.sum()
    left, right = seen[:, :-1].flatten(), seen[:, 1:].flatten()
    pairs = torch.zeros(vocab, vocab).index_put_((left, right), torch.ones(len(left)), accumulate=True)
    once, twice, totals = (pairs == 1).sum(), (pairs == 2).sum(), pairs.sum(1, keepdim=True)
    discount = once / (once + 2 * twice) if once else torch.tensor(0.5)
    unseen = discount * (pairs > 0).sum(1, keepdim=True) * alone
    follows = torch.where(totals > 0, ((pairs - discount).clamp_min(0) + unseen) / totals.clamp_min(1), alone)
    row, place = (labels != IGNORED).nonzero(as_tuple=True)
    wanted = labels[row, place]
    around = F.pad(hidden, (1, 1), value=mask)
    left, right = around[row, place], around[row, place + 2]
    chances = torch.where((left == mask)[:, None], alone, follows[left])
    chances *= torch.where((right == mask)[:, None], torch.ones(()), follows.T[right])
    chosen = chances.gather(1, wanted[:, None])[:, 0] / chances.sum(1)
    return float(-alone[wanted].log().mean()), float(-chosen.log().mean())


def between(figure: str, value: float, floor: float, yardstick: float) -> dict[str, Any]:
    """A rung whose share is the way from floor to yardstick that has been gone; above 1: beyond it."""
    share = (floor - value) / (floor - yardstick)
    return {"figure": figure, "value": value, "share": share, "floor": floor, "yardstick": yardstick}


def run(file: Path, chosen: list[str]) -> dict[str, Any]:
    """Measures what was not measured yet; written after each rung."""
    file.parent.mkdir(parents=True, exist_ok=True)
    plan = {"steps": STEPS, "solved": SOLVED, **SIZES}
    where = costs.environment()
    found: dict[str, Any] = {"plan": plan, "environment": where, "tasks": {}}
    if file.exists():
        old = json.loads(file.read_text(encoding="utf-8"))
        found = old if old["plan"] == plan else found
    elsewhere = {key: value for key, value in where.items() if value != found["environment"].get(key)}
    for name in chosen:
        known = found["tasks"].setdefault(name, {})
        for setting, measure in rungs(name).items():
            if setting not in known:
                known[setting] = measure() | elsewhere
                print(f"{setting}: {known[setting]['figure']} {known[setting]['share']:.1%}", flush=True)
                write_text(json.dumps(found, indent=1) + "\n", file)
            if name in LADDERS and known[setting]["share"] < SOLVED:
                break
    return found


def hardest(name: str, known: Mapping[str, Any]) -> str:
    """The last size of a ladder that was solved, as the documentation says it; else how far the first one was."""
    solved = None
    for setting in rungs(name):
        if setting not in known:
            break
        sizes, share = setting.removeprefix(name).strip("()"), known[setting]["share"]
        if share < SOLVED:
            return solved or f"none: {share:.0%} {f'at `{sizes}`' if sizes else 'as it is'}"
        solved = f"`{sizes}`" if sizes else "as it is"
    return solved or "not measured"


def rows(found: Mapping[str, Any]) -> list[str]:
    """Rows of the documentation's tables: the last cell of each made sequence, then texts, then problems."""
    tasks = found["tasks"]
    lines = [f"`{name}`: | {hardest(name, tasks[name])} |" for name in LADDERS if name in tasks]
    for name in LENGTHS:
        for setting, rung in tasks.get(name, {}).items():
            floor, value, yardstick = (f"{rung[key]:.2f}" for key in ("floor", "value", "yardstick"))
            length = setting.removeprefix(f"{name}(length=").strip(")")
            lines.append(f"| `{name}` | {length} | {floor} | {value} | {yardstick} | {rung['share']:.0%} |")
    for setting, rung in tasks.get("lengen", {}).items():
        lines.append(f"| `{setting}` | {rung['value']:.1%} | {rung['beyond']:.1%} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help=f"some of {', '.join(TASKS)}, with commas between them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=Path("docs/data/calibrated.json"))
    given = parser.parse_args()
    chosen = [name.strip() for name in given.only.split(",")] if given.only else list(TASKS)
    if not set(chosen) <= set(TASKS):
        parser.error(f"--only {given.only}: the tasks are {', '.join(TASKS)}")
    torch.set_num_threads(given.threads)
    print("\n".join(rows(run(given.data, chosen))))


if __name__ == "__main__":
    main()
