"""Recommenders: a history in, the items that come next out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from twofold import computing, progress
from twofold.checkpoints import folder
from twofold.checkpoints.plain import read_json, write_json
from twofold.data import batches
from twofold.errors import UserError, did_you_mean
from twofold.parts.recommenders import Recommender, sequences
from twofold.tasks.model import Model

_FILE = "histories.json"


@dataclass(frozen=True)
class Suggestion:
    """One item."""

    item: str
    score: float


class RecommendModel(Model):
    """A network over items. The task's setting `items` names them, in the order of their numbers.

    Attributes:
        histories: what each known user took, by name; saved with the model.
    """

    task: ClassVar[str] = "recommend"
    histories: Mapping[str, Sequence[int]] = {}

    @property
    def net(self) -> Recommender:
        net = super().net
        assert isinstance(net, Recommender)
        return net

    @property
    def items(self) -> Sequence[str]:
        """The items' names."""
        items: Sequence[str] = self.spec["items"]
        return items

    def scores(self, histories: Sequence[Sequence[int]]) -> np.ndarray:
        """How likely each item comes next, `[histories, items]`; only the order of the scores of a row means something.

        Raises:
            UserError: a history is empty.
        """
        if any(not len(history) for history in histories):
            raise UserError("a history is empty; give at least one item that the model knows")
        read = sequences(histories, self.net.longest)
        net = self.net.eval()
        found = np.zeros((len(read), len(self.items)), np.float32)
        with progress.stage(f"read {len(read):,} histories", total=len(read)) as stage:
            for group in batches.buckets([len(s) for s in read], 16384):
                ids, real = batches.pad([read[i] for i in group])
                with computing.inference():
                    found[group] = net(ids.to(self.device), real.to(self.device)).float().cpu().numpy()
                stage.advance(len(group))
        return found

    def recommend(self, history: str | Sequence[str], k: int = 10, exclude_seen: bool = True) -> list[Suggestion]:
        """The `k` items that come next, best first; fewer where there are not so many.

        Args:
            history: names of items, oldest first; or the name of a user that it was trained with.
            exclude_seen: leave out what is in the history.

        Raises:
            UserError: an unknown user, or no item that the model knows.
        """
        if k < 1:
            raise UserError(f"k is {k}; give at least 1")
        numbers = self._numbers(history)
        scores = self.scores([numbers])[0]
        order = np.argsort(-scores, kind="stable")
        if exclude_seen:
            order = order[~np.isin(order, numbers)]
        return [Suggestion(self.items[i], float(scores[i])) for i in order[:k].tolist()]

    def embed_items(self) -> np.ndarray:
        """A vector for each item, `[items, d]`, in the order of `items`.

        Raises:
            UserError: the model has none.
        """
        vectors: np.ndarray = self.net.vectors.detach().float().cpu().numpy()
        return vectors

    def _numbers(self, history: str | Sequence[str]) -> list[int]:
        if isinstance(history, str):
            if history not in self.histories:
                raise UserError(
                    f"{self.name} knows no user {history!r}.{did_you_mean(history, self.histories)} "
                    "Give what they took instead"
                )
            return list(self.histories[history])
        number = {name: i for i, name in enumerate(self.items)}
        known = [number[name] for name in history if name in number]
        if not known:
            raise UserError(
                f"none of the items {', '.join(history[:5])} is known; give at least one that was trained on"
            )
        if len(known) < len(history):
            warnings.warn(f"{len(history) - len(known)} unknown items of the history were left out", stacklevel=3)
        return known

    def _files(self, target: Path) -> None:
        if self.histories:
            write_json(target / _FILE, {user: list(history) for user, history in self.histories.items()})

    @classmethod
    def restore(cls, saved: folder.Saved) -> Self:
        model = super().restore(saved)
        items: Any = model.spec.get("items")
        if not isinstance(items, list) or len(items) != model.net.items:
            raise UserError(f"{saved.path} does not name the items that its network has; fit it again")
        if (saved.path / _FILE).exists():
            found = read_json(saved.path / _FILE)
            for user, history in found.items():
                if not isinstance(history, list) or not all(
                    isinstance(i, int) and 0 <= i < len(items) for i in history
                ):
                    raise UserError(f"{saved.path / _FILE}: the history of {json.dumps(user)} is damaged; fit it again")
            model.histories = found
        return model
