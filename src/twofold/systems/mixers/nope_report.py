"""What the study says of its decoders: accuracy in range and beyond, ranks, and how differently they attend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from twofold.measure.attention import attention_distance, attention_maps
from twofold.parts import SequenceModel
from twofold.tasks import Plot, Report, Table
from twofold.tasks.solve import Scores, SolveData

LEARNED = 0.9
"""Token accuracy in range below which a scheme has not learned a task, and gets no rank for it."""
_BUCKET = 5  # lengths that are ranked together


@dataclass(frozen=True)
class Result:
    """One scheme on one task.

    Args:
        task, scheme: their names.
        train_len: the longest length that was trained.
        scores: accuracy at each length of the test.
        log_likelihood: of validation answers in range, in nats a token (0 is best).
        net: the decoder.
        data: what it was trained on.
    """

    task: str
    scheme: str
    train_len: int
    scores: Scores
    log_likelihood: float
    net: SequenceModel
    data: SolveData

    @property
    def in_range(self) -> tuple[float, float]:
        """Token accuracy and exact match, mean over the trained lengths."""
        return self.scores.between(1, self.train_len)

    @property
    def unseen(self) -> tuple[float, float]:
        """The same over longer ones."""
        return self.scores.between(self.train_len + 1, int(self.scores.lengths.max()))

    @property
    def learned(self) -> bool:
        """Whether it does in range what is asked beyond."""
        return self.in_range[0] >= LEARNED


def report(results: Sequence[Result]) -> Report:
    """Figures by scheme (plain names where there is one scheme), tables, and accuracy by length."""
    schemes, tasks = _names(r.scheme for r in results), _names(r.task for r in results)
    ranked = ranks(results)
    figures: dict[str, float] = {}
    for scheme in schemes:
        own = [r for r in results if r.scheme == scheme]
        end = f".{scheme}" if len(schemes) > 1 else ""
        figures[f"accuracy_unseen{end}"] = _mean(r.unseen[0] for r in own)
        figures[f"accuracy_in_range{end}"] = _mean(r.in_range[0] for r in own)
        figures[f"exact_unseen{end}"] = _mean(r.unseen[1] for r in own)
        figures[f"exact_in_range{end}"] = _mean(r.in_range[1] for r in own)
        figures[f"log_likelihood{end}"] = _mean(r.log_likelihood for r in own)
        places = [rank[scheme] for rank in ranked.values() if scheme in rank]
        if len(schemes) > 1 and places:
            figures[f"mean_rank{end}"] = _mean(places)
            figures[f"mean_reciprocal_rank{end}"] = _mean(1 / place for place in places)
    tables = [_accuracy(results)]
    if len(schemes) > 1:
        tables.append(_ranking(ranked, schemes))
    tables += _attention(results)
    plots = tuple(
        Plot(
            f"{task}: trained to length {_of(results, task)[0].train_len}",
            "length",
            "token accuracy",
            {
                r.scheme: tuple(zip(map(float, r.scores.lengths), map(float, r.scores.token), strict=True))
                for r in _of(results, task)
            },
        )
        for task in tasks
    )
    return Report(figures, tuple(tables), plots, _sentences(results, figures, schemes))


def ranks(results: Sequence[Result]) -> dict[tuple[str, str], dict[str, int]]:
    """The place of each scheme, from 1, for every task and bucket of unseen lengths; equals share the better place.

    Schemes that have not learned the task in range have none.
    """
    found: dict[tuple[str, str], dict[str, int]] = {}
    for task in _names(r.task for r in results):
        own = _of(results, task)
        learned = [r for r in own if r.learned]
        lengths = own[0].scores.lengths
        last = int(lengths.max())
        for first in range(own[0].train_len + 1, last + 1, _BUCKET):
            end = min(first + _BUCKET - 1, last)
            score = {r.scheme: r.scores.between(first, end)[0] for r in learned}
            places = {s: 1 + sum(other > score[s] for other in score.values()) for s in score}
            if places:
                found[task, f"{first} to {end}" if end > first else str(first)] = places
    return found


def _accuracy(results: Sequence[Result]) -> Table:
    rows = tuple(
        (r.task, r.scheme, *map(_round, (*r.in_range, *r.unseen)), "" if r.learned else "not learned in range")
        for r in results
    )
    columns = ("task", "scheme", "in range", "exact in range", "unseen", "exact unseen", "note")
    return Table("Accuracy over lengths seen in training and over longer ones", columns, rows)


def _ranking(ranked: dict[tuple[str, str], dict[str, int]], schemes: Sequence[str]) -> Table:
    rows: list[tuple[str | float, ...]] = [
        (task, bucket, *(places.get(s, "no rank") for s in schemes)) for (task, bucket), places in ranked.items()
    ]
    reciprocal = [[1 / p[s] for p in ranked.values() if s in p] for s in schemes]
    rows.append(("mean reciprocal rank", "", *(_round(_mean(own)) if own else "no rank" for own in reciprocal)))
    return Table("Ranks beyond the trained lengths", ("task", "lengths", *schemes), tuple(rows))


def _attention(results: Sequence[Result], rows: int = 16) -> list[Table]:
    """How far each scheme attends from no position at all, on the longest trained problems."""
    lines: list[tuple[str | float, ...]] = []
    for plain in (r for r in results if r.scheme == "none"):
        ids = torch.from_numpy(plain.data.validation[-1].sequences()[0][:rows])
        maps = attention_maps(plain.net, ids)
        for other in _of(results, plain.task):
            if other is not plain:
                distances = attention_distance(maps, attention_maps(other.net, ids))
                lines.append((plain.task, other.scheme, *map(_round, distances)))
    if not lines:
        return []
    depth = max(len(line) for line in lines) - 2
    columns = ("task", "scheme", *(f"layer {i + 1}" for i in range(depth)))
    return [Table("Jensen–Shannon distance of attention from no position, in nats", columns, tuple(lines))]


def _sentences(results: Sequence[Result], figures: dict[str, float], schemes: Sequence[str]) -> str:
    lines = []
    if len(schemes) == 1:
        lines.append(
            f"{_called(schemes[0])}: token accuracy {figures['accuracy_in_range']:.2f} at trained lengths, "
            f"{figures['accuracy_unseen']:.2f} at longer ones."
        )
    elif able := [s for s in schemes if all(r.learned for r in results if r.scheme == s)]:
        best = max(able, key=lambda s: figures[f"accuracy_unseen.{s}"])
        reached = figures[f"accuracy_unseen.{best}"]
        lines.append(f"Best at longer lengths: {_called(best)}, token accuracy {reached:.2f}.")
    for missed in (r for r in results if not r.learned):
        lines.append(f"Not learned in range, so without a rank: {missed.task} with {_called(missed.scheme)}.")
    return "\n".join(lines)


def _called(scheme: str) -> str:
    return "no position" if scheme == "none" else scheme


def _of(results: Sequence[Result], task: str) -> list[Result]:
    return [r for r in results if r.task == task]


def _names(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _round(value: float) -> float:
    return round(value, 4)
