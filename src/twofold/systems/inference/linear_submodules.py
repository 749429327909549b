"""Which parts of a transformer a linear map can stand for: attention, feed-forward parts or norms, one kind at a time.

Din et al. 2023, section 6, https://arxiv.org/abs/2303.09435
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from twofold import progress
from twofold.parts import Block, StandIn, Tap, blocks, replaced, trace
from twofold.parts.stack import NoNorm
from twofold.parts.trace import Role
from twofold.surgery import LeastSquares
from twofold.tasks import Plot, Report, Table
from twofold.tasks.passages import Recorded, Subject

KINDS: Mapping[str, tuple[Role, ...]] = {
    "attention": ("mixer",),
    "feed_forward": ("channel",),
    "norm": ("mixer_norm", "channel_norm"),
}
STARTS = 6
"""First layers that are tried, at most."""
JUDGED = 16
"""Test passages that are read with every replacement, at most."""


def stand_ins(
    who: Subject, sequences: Sequence[Sequence[int]], positions: int, ridge: float | None
) -> dict[Tap, StandIn]:
    """A linear map for every mixer, channel mixer and norm of every block, from what it takes to what it gives.

    Args:
        sequences: passages; all but the first token of each counts.
        positions: stop after so many.
        ridge: as `LeastSquares` takes it.

    Raises:
        UserError: too few positions.
    """
    layers = [block for _, block in blocks(who.net)]
    places = [
        (i, role) for i, block in enumerate(layers) for roles in KINDS.values() for role in roles if _has(block, role)
    ]
    taps = [Tap(i, role, side) for i, role in places for side in ("in", "out")]
    fitted = {place: LeastSquares(ridge) for place in places}
    lengths = np.cumsum([len(s) - 1 for s in sequences])
    chosen = sequences[: int(np.searchsorted(lengths, positions)) + 1]
    with torch.no_grad(), progress.stage("fit maps of parts", total=len(chosen)) as stage:
        for ids, real in who.batches(chosen):
            with trace(who.net, taps, stop=True) as seen:
                who.run(ids.to(who.model.device), real.to(who.model.device))
            counted = _behind_first(real)
            for (i, role), fit in fitted.items():
                if Tap(i, role) in seen:  # a norm before a part that was cut is never run
                    fit.add(seen[Tap(i, role, "in")][counted], seen[Tap(i, role)][counted])
            stage.advance(len(ids))
    return {Tap(*place): _stand_in(fit.solve()[0], who) for place, fit in fitted.items() if fit.count}


def submodules(who: Subject, pool: Recorded, positions: int, ridge: float | None) -> Report:
    """What is lost where one kind of part is linear from some layer on: agreement, and loss of a language model.

    Where the states overflow there is no loss: the table shows none, and no mean of that kind is given.

    Args:
        pool: its training passages are fitted on, its test passages read.
        positions: to fit on.
        ridge: as `LeastSquares` takes it.
    """
    if who.net.head is None:
        return Report({})
    parts = stand_ins(who, pool.passages["train"], positions, ridge)
    depth = pool.layers[-1]
    starts = sorted({int(s) for s in np.linspace(0, depth, STARTS, endpoint=False)})
    batches = who.batches(pool.passages["test"][:JUDGED])
    whole = _Judged(who, batches)
    found: dict[tuple[str, int], tuple[float, float]] = {}
    with progress.stage("replace parts", total=len(KINDS) * len(starts)) as stage:
        for kind, roles in KINDS.items():
            for start in starts:
                chosen = {tap: part for tap, part in parts.items() if tap.part in roles and tap.layer >= start}
                stage.advance(note=f"{kind.replace('_', '-')} from layer {start}")
                if chosen:
                    now = _Judged(who, batches, chosen)
                    found[kind, start] = now.agreement(whole), now.loss - whole.loss
    figures, lines = {}, {}
    for kind in dict.fromkeys(kind for kind, _ in found):
        own = {start: values for (k, start), values in found.items() if k == kind}
        figures[f"agreement.{kind}"] = float(np.mean([agreed for agreed, _ in own.values()]))
        increase = float(np.mean([lost for _, lost in own.values()]))
        if np.isfinite(increase):  # maps in place of norms can grow the states without bound
            figures[f"loss_increase.{kind}"] = increase
        lines[kind.replace("_", "-")] = tuple((float(start), agreed) for start, (agreed, _) in own.items())
    told = ("part", "from layer", "agreement", "loss increase in nats")[: None if who.causal else -1]
    rows = tuple(
        (kind.replace("_", "-"), start, *(round(v, 4) if np.isfinite(v) else None for v in values))[: len(told)]
        for (kind, start), values in found.items()
    )
    title = "Parts replaced by linear maps from a layer on"
    plot = Plot(title, "from layer", "agreement with the whole model", lines)
    return Report(figures, (Table(title, told, rows),), (plot,))


class _Judged:
    """The likeliest tokens and the loss in nats a token of a network with some parts replaced."""

    def __init__(
        self, who: Subject, batches: Sequence[tuple[Tensor, Tensor]], parts: Mapping[Tap, StandIn] | None = None
    ) -> None:
        tops, costs = [], []
        with torch.inference_mode(), replaced(who.net, parts) if parts else contextlib.nullcontext():
            for ids, real in batches:
                ids, real = ids.to(who.model.device), real.to(who.model.device)
                counted = _behind_first(real)
                states = who.run(ids, real)
                logits = who.net.apply_head(states[counted]).float()
                tops.append(logits.argmax(-1))
                if who.causal:
                    follows = counted.clone()
                    follows[:, :-1] &= real[:, 1:]
                    follows[:, -1] = False
                    targets = ids.roll(-1, dims=1)[follows]
                    costs.append(cross_entropy(logits[follows[counted]], targets, reduction="none").double())
        self.tops = torch.cat(tops)
        self.loss = float(torch.cat(costs).mean()) if costs else float("nan")

    def agreement(self, other: _Judged) -> float:
        """Share of positions with the same likeliest token."""
        return float((self.tops == other.tops).double().mean())


def _behind_first(real: Tensor) -> Tensor:
    counted = real.clone()
    counted[:, 0] = False
    return counted


def _has(block: Block, role: Role) -> bool:
    part = getattr(block, role)
    return part is not None and not isinstance(part, NoNorm)


def _stand_in(matrix: np.ndarray, who: Subject) -> StandIn:
    made = StandIn(len(matrix))
    with torch.no_grad():
        made.map.weight.copy_(torch.from_numpy(matrix.T))
    return made.to(who.model.device)
