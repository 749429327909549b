"""Studies that read the states of early layers as the last one's: a system says by which map, the rest is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import progress
from twofold.data.rows import Rows
from twofold.decoding import ExitHead, Threshold, first_exit
from twofold.surgery import Recording, r_squared
from twofold.tasks.model import Model
from twofold.tasks.passages import Recorded, Subject, recorded, subject
from twofold.tasks.system import Plot, Report, StudySystem, Table

KS = (1, 5, 10)
AGREEMENT = 0.95
LAMBDAS = np.linspace(0, 1.12, 225)
"""Thresholds that are tried; the last is above what any confidence can be, also for one that falls."""
_LOGITS = 1 << 24

Maps = Mapping[int, Tensor | None]
"""For each layer the map `[D, D]` into the last one's space (`states @ map`); None: the states as they are."""


@dataclass(frozen=True)
class Readings:
    """What early layers say at n positions, by layer.

    Attributes:
        layers: which; K of them, the last layer not among them.
        top: the likeliest token, `[n, K]`.
        gap: its probability minus the next one's.
        rank: how many tokens are likelier than the last layer's likeliest.
        surprisal: minus the log probability of the last layer's likeliest, in nats.
        target: the last layer's likeliest token, `[n]`.
    """

    layers: tuple[int, ...]
    top: Tensor
    gap: Tensor
    rank: Tensor
    surprisal: Tensor
    target: Tensor

    def precision(self, k: int) -> Tensor:
        """How often the last layer's likeliest token is among a layer's k likeliest, `[K]`."""
        return (self.rank < k).double().mean(0)


@torch.inference_mode()
def readings(who: Subject, test: Recording, layers: Sequence[int], maps: Maps) -> Readings:
    """Reads every layer but the last through its map, the final norm and the head.

    Args:
        test: states of `layers` (the last layer last).
    """
    full = ExitHead(who.net)
    vocab = int(full(torch.as_tensor(test.values[:1, -1], device=who.model.device)).shape[-1])
    rows = max(1, _LOGITS // vocab)

    def chunks(place: int) -> list[Tensor]:
        values = torch.as_tensor(test.values[:, place], device=who.model.device)
        return list(values.split(rows))

    targets = [full(x).argmax(-1) for x in chunks(len(layers) - 1)]
    found: list[list[Tensor]] = []
    with progress.stage("read layers", total=len(layers) - 1) as stage:
        for place, layer in enumerate(layers[:-1]):
            head = ExitHead(who.net, maps[layer])
            parts = [_read(head(x).float(), target) for x, target in zip(chunks(place), targets, strict=True)]
            found.append([torch.cat(column).cpu() for column in zip(*parts, strict=True)])
            stage.advance()
    stacked = [torch.stack(column, dim=1) for column in zip(*found, strict=True)]
    return Readings(tuple(layers[:-1]), *stacked, target=torch.cat(targets).cpu())  # type: ignore[misc]


def _read(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    own = logits.gather(-1, target[:, None])
    total = logits.logsumexp(-1)
    best = logits.topk(2, dim=-1)
    chances = (best.values - total[:, None]).exp()
    rank = (logits > own).sum(-1)
    return best.indices[:, 0], chances[:, 0] - chances[:, 1], rank, total - own[:, 0]


@dataclass(frozen=True)
class Exits:
    """Early exits at every threshold of `LAMBDAS`: agreement with the full model's tokens, share of layers saved."""

    agreement: np.ndarray
    saved: np.ndarray

    @property
    def at_agreement(self) -> float:
        """The largest share of layers saved with an agreement of at least `AGREEMENT`."""
        return float(self.saved[self.agreement >= AGREEMENT].max())


def exits(read: Readings, depth: int, test: Recording, falling: bool = False) -> Exits:
    """Leaves at the first layer that is confident enough, along the full model's own states.

    Layer 0, which no block has touched, is no exit.

    Args:
        depth: layers of the whole network.
        test: the positions that were read.
        falling: lower the threshold along the text.
    """
    first = next((i for i, layer in enumerate(read.layers) if layer > 0), len(read.layers))
    run = torch.tensor([*read.layers[first:], depth], dtype=torch.float64)
    answers = torch.cat([read.top[:, first:], read.target[:, None]], dim=1)
    places, lengths = torch.from_numpy(test.places), torch.from_numpy(test.lengths)
    agreement, saved = [], []
    for value in LAMBDAS:
        left = first_exit(read.gap[:, first:], Threshold(float(value), falling)(places, lengths))
        answer = answers.gather(1, left[:, None])[:, 0]
        agreement.append(float((answer == read.target).double().mean()))
        saved.append(1 - float(run[left].mean()) / depth)
    return Exits(np.array(agreement), np.array(saved))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ReadOutStudy(StudySystem, ABC):
    """How well the states of early layers, taken through a map, stand for the last layer's."""

    fit: int = Field(4000, ge=2, description="positions to fit on, from the training texts")
    test: int = Field(1000, ge=2, description="positions to test on, from the test texts")
    positions: int = Field(16, ge=1, description="positions that are drawn from each passage")
    length: int = Field(64, ge=3, description="tokens in a passage")
    every: int = Field(1, ge=1, description="distance between the layers that are looked at")

    @abstractmethod
    def report(self, who: Subject, pool: Recorded, fit: Recording, test: Recording) -> Report:
        """What is found.

        Args:
            who: the model.
            pool: all that was recorded.
            fit, test: states of `pool.layers` at the positions to fit and to test on.
        """

    def small(self) -> Self:
        sizes = {"fit": min(self.fit, 200), "test": min(self.test, 50), "positions": min(self.positions, 8)}
        return replace(self, every=min(self.every, 2), **sizes)

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """Records, fits and reads.

        Args:
            model: a language model, or an encoder (then without what needs a head); None: a small random one.
            rows: texts, of which the training part is fitted on and the test part read; by default `pydoc`.
            seed: of the passages that are drawn from the recording.

        Raises:
            UserError: no sequence model, or too few texts.
        """
        who, split = subject(model, rows)
        sizes = {"fit": self.fit, "test": self.test, "positions": self.positions, "length": self.length}
        pool = recorded(who, split, every=self.every, **sizes)
        fit, test = pool.draw(self.fit, self.test, seed)
        report = self.report(who, pool, fit, test)
        counts = f"{len(fit):,} positions to fit on, {len(test):,} to test on, {pool.layers[-1]} layers"
        note = "No model was given: this is a small random network." if model is None else ""
        return replace(report, text="\n".join(line for line in (counts + ".", report.text, note) if line))


def read_report(who: Subject, layers: Sequence[int], readers: Mapping[str, Maps], test: Recording) -> Report:
    """Figures and curves of some ways to read early layers; the names of the first one's figures are plain.

    Args:
        layers: the last one of the network at the end.
        readers: maps from each layer but the last, by what a person calls them.
        test: states of `layers`.
    """
    own, early = next(iter(readers)), layers[:-1]
    explained = {name: _explained(test, layers, maps) for name, maps in readers.items()}
    figures = {f"r2{_end(name, own)}": float(np.mean(values)) for name, values in explained.items()}
    columns = {f"r², {name}": values for name, values in explained.items()}
    plots = [_curve("Variance of the last layer explained", "r²", early, explained)]
    tables: list[Table] = []
    if who.net.head is not None:
        read = {name: readings(who, test, layers, maps) for name, maps in readers.items()}
        surprisal = {name: found.surprisal.double().mean(0).tolist() for name, found in read.items()}
        for k in KS:
            precise = {name: found.precision(k).tolist() for name, found in read.items()}
            figures |= {f"precision_{k}{_end(name, own)}": float(np.mean(v)) for name, v in precise.items()}
            columns |= {f"precision@{k}, {name}": v for name, v in precise.items() if k == 1}
            plots.append(
                _curve(f"The last layer's token among a layer's {k} likeliest", f"precision@{k}", early, precise)
            )
        figures |= {f"surprisal{_end(name, own)}": float(np.mean(v)) for name, v in surprisal.items()}
        columns |= {f"surprisal, {name}": v for name, v in surprisal.items()}
        plots.append(_curve("Surprisal at the last layer's token", "nats", early, surprisal))
        saving, curve, saved = _exits(read, own, layers[-1], test)
        figures |= saved
        tables.append(saving)
        plots.append(curve)
    rows = tuple((layer, *(_rounded(v[i]) for v in columns.values())) for i, layer in enumerate(early))
    return Report(figures, (Table("By layer", ("layer", *columns), rows), *tables), tuple(plots))


def _explained(test: Recording, layers: Sequence[int], maps: Maps) -> list[float]:
    wanted = torch.as_tensor(test.values[:, -1])
    found = []
    for place, layer in enumerate(layers[:-1]):
        given, matrix = torch.as_tensor(test.values[:, place]), maps[layer]
        found.append(r_squared(given if matrix is None else given @ matrix.cpu(), wanted))
    return found


def _exits(read: Mapping[str, Readings], own: str, depth: int, test: Recording) -> tuple[Table, Plot, dict[str, float]]:
    figures, rows, lines = {}, [], {}
    for name, found in read.items():
        for falling in (False, True):
            left = exits(found, depth, test, falling)
            kind = "falling" if falling else "fixed"
            figures[f"saved_95{'_falling' if falling else ''}{_end(name, own)}"] = left.at_agreement
            rows.append((name, kind, _rounded(left.at_agreement)))
            if not falling:
                lines[name] = tuple(sorted(zip(left.saved.tolist(), left.agreement.tolist(), strict=True)))
    title = f"Share of layers saved at an agreement of {AGREEMENT:.0%}"
    return (
        Table(title, ("read by", "threshold", "layers saved"), tuple(rows)),
        Plot("Early exit, fixed threshold", "share of layers saved", "agreement with the whole model", lines),
        figures,
    )


def _curve(title: str, y: str, layers: Sequence[int], lines: Mapping[str, Sequence[float]]) -> Plot:
    points = {name: tuple(zip(map(float, layers), values, strict=True)) for name, values in lines.items()}
    return Plot(title, "layer", y, points)


def _end(name: str, own: str) -> str:
    return "" if name == own else f".{name.replace(' ', '_')}"


def _rounded(value: float) -> float:
    return round(float(value), 4)


__all__ = ["Maps", "ReadOutStudy", "Readings", "exits", "read_report", "readings"]
