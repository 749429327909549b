"""What a classifier answers with: one class, any number of labels, or a number.

Each kind knows how many outputs a network needs, their loss, how outputs become probabilities, and the figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from twofold.measure import classification
from twofold.objectives import Loss
from twofold.objectives import classification as losses
from twofold.tasks.kinds import of_kind
from twofold.tasks.system import Table

UNEVEN = 10.0  # from this ratio of the largest to the smallest class on, classes are weighted
_WHOLE_TABLE = 15  # classes up to which a confusion table is shown whole


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input.

    Args:
        answer: a label, a list of labels, or a number.
        probability: of the label; of a set of labels, the product of every decision; None for numbers.
        probabilities: of every label; empty for numbers.
    """

    answer: str | list[str] | float
    probability: float | None
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Judgement:
    """Figures by name, the main figure of every item `[n]`, and tables for a report."""

    figures: dict[str, float]
    items: np.ndarray
    tables: tuple[Table, ...] = ()


class Target(ABC):
    """What is predicted. `values` are an array with one entry an item, as `data` has them.

    Attributes:
        kind: its name in a saved model.
        metric: the main figure; more is better.
        outputs: how many numbers a network gives for an item.
        labels: names of the classes; empty for numbers.
    """

    kind: ClassVar[str]
    metric: str
    labels: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        return len(self.labels)

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What it takes to make it again, JSON-able."""

    @abstractmethod
    def loss(self, logits: Tensor, values: Tensor) -> Loss:
        """The loss of logits `[B, outputs]`."""

    @abstractmethod
    def decode(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities `[n, outputs]`, or numbers `[n]`, of logits `[n, outputs]`."""

    @abstractmethod
    def judge(self, decoded: np.ndarray, values: np.ndarray) -> Judgement:
        """How good `decoded` is."""

    @abstractmethod
    def answers(self, decoded: np.ndarray) -> list[Prediction]:
        """What is told to a person."""

    @staticmethod
    def of(spec: Mapping[str, Any]) -> Target:
        """The target that a spec describes."""
        kinds: tuple[type[Target], ...] = (OneLabel, ManyLabels, Number)
        return of_kind(spec, kinds)


@dataclass(frozen=True)
class OneLabel(Target):
    """One of several classes; values are class numbers, int64 `[n]`.

    Args:
        labels: the classes' names.
        weights: how much an item of each class counts in training; empty: all alike. Where classes are weighted,
            the mean recall over classes decides, else the share that is right.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] = ()
    kind: ClassVar[str] = "one"

    @property
    def metric(self) -> str:  # type: ignore[override]
        return "balanced_accuracy" if self.weights else "accuracy"

    @classmethod
    def from_counts(cls, labels: Sequence[str], counts: Sequence[int]) -> OneLabel:
        """Weighted where the training classes are very uneven: each class then counts alike in all."""
        sizes = np.asarray(counts, dtype=np.float64)
        if sizes.max() < UNEVEN * sizes.min():
            return cls(tuple(labels))
        weights = sizes.sum() / (len(sizes) * sizes)
        return cls(tuple(labels), tuple(round(float(w), 6) for w in weights))

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels), "weights": list(self.weights)}

    def loss(self, logits: Tensor, values: Tensor) -> Loss:
        weights = torch.tensor(self.weights, device=logits.device) if self.weights else None
        return losses.classes(logits, values, weights)

    def decode(self, logits: np.ndarray) -> np.ndarray:
        grown = np.exp(logits - logits.max(1, keepdims=True))
        probabilities: np.ndarray = grown / grown.sum(1, keepdims=True)
        return probabilities

    def judge(self, decoded: np.ndarray, values: np.ndarray) -> Judgement:
        figures, items = classification.one_label(decoded, values)
        confused = classification.confusion(decoded.argmax(1), values, len(self.labels))
        return Judgement(figures, items[self.metric], (self._mistakes(confused),))

    def _mistakes(self, table: np.ndarray) -> Table:
        if len(self.labels) <= _WHOLE_TABLE:
            rows = tuple((label, *map(int, row)) for label, row in zip(self.labels, table, strict=True))
            return Table("What was taken for what (rows: true, columns: predicted)", ("", *self.labels), rows)
        pairs = classification.most_confused(table, self.labels)
        return Table("The commonest mistakes", ("true", "predicted", "times", "of"), tuple(pairs))

    def answers(self, decoded: np.ndarray) -> list[Prediction]:
        return [
            Prediction(self.labels[best], float(row[best]), dict(zip(self.labels, map(float, row), strict=True)))
            for row, best in zip(decoded, decoded.argmax(1), strict=True)
        ]


@dataclass(frozen=True)
class ManyLabels(Target):
    """Any number of labels, none too; values say which are there, bool `[n, labels]`."""

    labels: tuple[str, ...]
    kind: ClassVar[str] = "many"
    metric: ClassVar[str] = "sample_f1"  # type: ignore[misc]

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels)}

    def loss(self, logits: Tensor, values: Tensor) -> Loss:
        return losses.labels(logits, values.to(torch.float32))

    def decode(self, logits: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        return probabilities

    def judge(self, decoded: np.ndarray, values: np.ndarray) -> Judgement:
        figures, items = classification.many_labels(decoded, values)
        taken = decoded >= 0.5
        counts = zip(self.labels, values.sum(0), taken.sum(0), (values & taken).sum(0), strict=True)
        rows = tuple((label, int(there), int(said), int(both)) for label, there, said, both in counts)
        table = Table("Every label", ("label", "there", "predicted", "both"), rows)
        return Judgement(figures, items[self.metric], (table,))

    def answers(self, decoded: np.ndarray) -> list[Prediction]:
        taken = decoded >= 0.5
        sure = np.where(taken, decoded, 1 - decoded).prod(1)
        return [
            Prediction(
                [label for label, there in zip(self.labels, chosen, strict=True) if there],
                float(together),
                dict(zip(self.labels, map(float, row), strict=True)),
            )
            for row, chosen, together in zip(decoded, taken, sure, strict=True)
        ]


@dataclass(frozen=True)
class Number(Target):
    """A number; values are float32 `[n]`. Networks see it with mean 0 and spread 1.

    Args:
        center, spread: mean and standard deviation in training.
    """

    center: float
    spread: float
    kind: ClassVar[str] = "number"
    metric: ClassVar[str] = "r2"  # type: ignore[misc]

    @property
    def outputs(self) -> int:
        return 1

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "center": self.center, "spread": self.spread}

    def loss(self, logits: Tensor, values: Tensor) -> Loss:
        return losses.numbers(logits, (values.to(torch.float32) - self.center) / self.spread)

    def decode(self, logits: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = logits[:, 0] * self.spread + self.center
        return numbers

    def judge(self, decoded: np.ndarray, values: np.ndarray) -> Judgement:
        figures, items = classification.numbers(decoded, values)
        return Judgement(figures, items[self.metric])

    def answers(self, decoded: np.ndarray) -> list[Prediction]:
        return [Prediction(float(value), None, {}) for value in decoded]
