"""The task `recommend`: from what somebody took so far, what they take next."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import Rows, read
from twofold.errors import UserError
from twofold.measure import recommendation
from twofold.tasks.model import Model
from twofold.tasks.recommend.data import RecommendData, from_rows
from twofold.tasks.recommend.model import RecommendModel
from twofold.tasks.task import Evaluation, Task

_ROWS = 2048  # users ranked at once


def _numbers(model: RecommendModel, data: RecommendData) -> np.ndarray:
    """The model's number of each of the data's items, -1 where it has none."""
    place = {name: i for i, name in enumerate(model.items)}
    number = np.array([place.get(name, -1) for name in data.items], dtype=np.int64)
    unknown = int((number < 0).sum())
    if unknown == len(number):
        raise UserError(f"{model.name} knows none of the items of {data.source}; give data with those it was fit on")
    if unknown:
        warnings.warn(
            f"{model.name} does not know {unknown} of {len(number)} items; they count as not found", stacklevel=3
        )
    return number


class RecommendTask(Task):
    """Every user's last item, ranked among all that they have not taken; nDCG@10 decides."""

    name: ClassVar[str] = "recommend"
    metric: ClassVar[str] = "ndcg@10"
    default_data: ClassVar[str] = "histories"
    baselines: ClassVar[tuple[str, ...]] = ("most-popular", "item-knn", "markov", "sasrec")
    model: ClassVar[type[Model]] = RecommendModel
    beside: ClassVar[tuple[str, ...]] = ("hr@10",)

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> RecommendData:
        """Rows of user, item and time."""
        return from_rows(source if isinstance(source, Rows) else read(source, columns=columns))

    def evaluate(self, model: Model, data: RecommendData, part: str = "test", **setting: Any) -> Evaluation:
        """Where each user's next item stands: among all items that the user has not taken, and (`sampled_…`)
        among 100 that were drawn by popularity. For users whose next item is one that they took before, among all.

        The part "train" asks for the last item that is learned from. Items are those of the model by name: one that it
        does not know is left out of histories, and not found where it comes next.

        Raises:
            UserError: the model knows none of the items.
        """
        assert isinstance(model, RecommendModel)
        number = _numbers(model, data)
        if part == "train":
            known = [history[:-1] or history for history in data.known("train")]
            wanted = np.array([history[-1] for history in data.known("train")])
        else:
            known, wanted = [*data.known(part)], data.wanted(part)
        known = [tuple(number[list(history)][number[list(history)] >= 0].tolist()) for history in known]
        wanted = number[wanted]
        lost = (wanted < 0) | np.array([not history for history in known])
        known, wanted = [history or (0,) for history in known], np.maximum(wanted, 0)
        counts: np.ndarray = np.zeros(len(model.items), np.int64)
        counts[number[number >= 0]] = data.counts[number >= 0]
        whole, sampled = [], []
        for start in range(0, len(known), _ROWS):
            some = slice(start, start + _ROWS)
            scores = model.scores(known[some])
            seen = np.zeros(scores.shape, bool)
            for row, history in enumerate(known[some]):
                # Who takes things again is asked about all of them: leaving out the others would tell the answer.
                seen[row, list(history)] = wanted[start + row] not in history
            whole.append(recommendation.ranks(scores, wanted[some], seen))
            sampled.append(recommendation.sampled_ranks(scores, wanted[some], seen, counts, seed=start))
        items, beside = (
            recommendation.figures(np.where(lost, np.inf, np.concatenate(ranks))) for ranks in (whole, sampled)
        )
        figures = {name: float(values.mean()) for name, values in items.items()}
        figures |= {f"sampled_{name}": float(values.mean()) for name, values in beside.items()}
        return Evaluation(figures, items.get(str(setting.get("metric")), items[self.metric]))

    def describe(self, data: RecommendData) -> dict[str, Any]:
        events = sum(map(len, data.known("train")))
        held = {"users": len(data.users)}
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": {
                "train": {"users": len(data.users), "items": len(data.items), "events": events},
                "validation": held,
                "test": held,
            },
            "notes": list(data.notes),
        }

    def cut(self, data: RecommendData, share: float) -> RecommendData:
        return data.limited(max(20, round(len(data.users) * share)))

    def requests(self, model: Model, data: RecommendData) -> tuple[Callable[[Any], Any], list[Any]]:
        """Recommending to one user."""
        assert isinstance(model, RecommendModel)
        names = [[data.items[i] for i in history] for history in data.known("test")[:200]]
        return lambda history: model.recommend(history), names

    def ready(self, model: Model, data: RecommendData) -> Model:
        """The model with every user's whole history."""
        assert isinstance(model, RecommendModel)
        model.histories = dict(zip(data.users, data.histories, strict=True))
        return model
