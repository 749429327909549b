"""What a task is: a data contract, a model interface, figures, and the names of its plain baselines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data.rows import Rows
from twofold.tasks.model import Model
from twofold.tasks.system import Table


@dataclass(frozen=True)
class Evaluation:
    """Figures over a part of the data, and the main figure of every item (for paired statistics).

    Args:
        figures: name to value.
        items: the main figure of each item, `[n]`, in the data's order.
        tables: what else a person wants to see, such as which classes are confused.
        weights: what each item counts for, where the main figure is `sum(weights * items) / sum(weights)`, such as its
            bytes, `[n]`; None: all alike.
    """

    figures: dict[str, float]
    items: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tables: tuple[Table, ...] = ()
    weights: np.ndarray | None = None


class Task(ABC):
    """One thing that a person wants done.

    Attributes:
        name: as on the command line.
        metric: the figure that is compared and that recommendations go by.
        direction: whether more or less of it is better.
        default_data: the embedded data set that is used when none is named.
        baselines: ids of the plain baselines.
        model: the class of its models.
        beside: figures that are shown beside the main one.
        shares: how much of the data's groups goes into train, validation and test.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    direction: ClassVar[str] = "higher"
    default_data: ClassVar[str]
    baselines: ClassVar[tuple[str, ...]] = ()
    model: ClassVar[type[Model]]
    beside: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[tuple[float, float, float]] = (0.8, 0.1, 0.1)

    @abstractmethod
    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> Any:
        """The task's data from a name, a path or rows, split into train, validation and test."""

    def kind_of(self, spec: Mapping[str, Any]) -> type[Model]:
        """The class of a saved model with those settings, where the task has several."""
        return self.model

    def metric_of(self, data: Any) -> str:
        """The main figure on this data, where it depends on the data."""
        return self.metric

    @abstractmethod
    def evaluate(self, model: Model, data: Any, part: str = "test", **setting: Any) -> Evaluation:
        """The figures of `model` on one part of the data."""

    def fidelity(self, model: Model, dense: Model, data: Any, part: str = "test", **setting: Any) -> dict[str, float]:
        """How near a changed model still is to the one it was made from, on one part of the data; smaller is nearer.

        Args:
            model: the changed one.
            dense: what it was made from.
            setting: as the task understands it; without what it needs, nothing is compared.
        """
        return {}

    @abstractmethod
    def describe(self, data: Any) -> dict[str, Any]:
        """Name, source, fingerprint and counts of the data, for tables and records."""

    @abstractmethod
    def cut(self, data: Any, share: float) -> Any:
        """The data with the given share of its items kept (0 to 1), the same ones for the same share."""

    @abstractmethod
    def requests(self, model: Model, data: Any) -> tuple[Callable[[Any], Any], list[Any]]:
        """A function that serves one request, ready to be timed, and requests from the test part."""

    def in_use(self, model: Model) -> dict[str, float]:
        """What else a person asks of a model before using it: name to value, for a table of their own. Names say what
        is counted, such as `decoding_tokens_per_second` or `cache_bytes@1024`."""
        return {}

    def ready(self, model: Model, data: Any) -> Model:
        """The model made ready to use on the whole data before it is saved (for search: with its index)."""
        return model
