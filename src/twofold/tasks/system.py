"""The three kinds of system: a model is trained, a transform changes a model, a study reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from twofold import computing
from twofold.catalog import Budget, Card, Claim, Steps
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Part
from twofold.tasks import backbone_names
from twofold.tasks.model import Model
from twofold.training import History, Recipe, train

_LEARNS = {
    "language": "next token",
    "represent": "hidden tokens",
    "search": "search",
    "classify": "classification",
    "solve": "answers to problems",
}
"""What systems that are no backbone by name learn by, by task."""

BYTES = 260
"""Vocabulary of a network that is drawn: bytes, and a few more."""


class System:
    """A published method. Its fields are its options; `@system` gives it a card and makes it a frozen dataclass."""

    card: ClassVar[Card]
    kind: ClassVar[Literal["model", "transform", "study"]]
    claim: ClassVar[Claim | None] = None

    @property
    def id(self) -> str:
        return self.card.id

    def options(self) -> dict[str, Any]:
        """The options with their values, JSON-able."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def small(self) -> Self:
        """The same system at a size that runs in about a second, for tests and behaviour traces."""
        return self

    def outline(self, length: int) -> nn.Module | None:
        """Its network for inputs of so many tokens, to be drawn and counted; None: there is no one network to draw."""
        if not hasattr(self, "network"):
            return None
        own = replace(self, length=length) if any(f.name == "length" for f in fields(self)) else self  # type: ignore[arg-type, type-var]
        net: nn.Module = own.network(BYTES)
        return net

    @classmethod
    def namesake(cls) -> list[str]:
        """Commands that show and use the backbone of the same name, where that is something else; none: []."""
        from twofold.tasks import backbone_cards, backbones

        kind = next((each["kind"] for each in backbones.every() if each["id"] == cls.card.id), None)
        if kind not in ("preset", "reference", "checkpoint"):
            return []
        card = backbone_cards.card(cls.card.id)
        assert card is not None
        return [*([f"twofold show {card['id']}"] if kind == "preset" else []), *card["use"]]

    @classmethod
    def sketch(cls) -> dict[str, Any] | None:
        """For a system of the mixers family: a drawing of its blocks and what they cost (`measure.sketch`)."""
        if cls.card.family != "mixers":
            return None
        from twofold.measure.sketch import sketch

        own = cls()
        layers = backbone_names.of_system(own)
        if layers is None:
            learns = [_LEARNS[task] for task in own.card.tasks if task in _LEARNS]
        else:
            learns = backbone_names.objectives(layers)
        try:
            found = sketch(own.outline, learns)
            return found if layers is None else found | {"use": backbone_names.uses(f"{own.card.id}-4x128", learns)}
        except (UserError, NotImplementedError, RuntimeError):  # of another shape, or it cannot be made without weights
            return None


@dataclass
class Fitted:
    """A model and how its training went (None where nothing was trained)."""

    model: Model
    history: History | None = None


def try_on_meta(make: Callable[[], Any]) -> None:
    """Makes a network without weights, to learn whether it is refused (UserError)."""
    with torch.device("meta"), suppress(NotImplementedError, RuntimeError):  # some need their weights to be made
        make()


class ModelSystem(System, ABC):
    """A system that makes a model from data: by training, by loading, or by counting.

    `trains` says whether a budget is spent; what is loaded or counted takes no part in races. `reads` says which
    modalities it takes, where its task has several. `by_name` keeps it out of comparisons that do not name it
    (or `all`), whose minutes others need more: it reads far more than they do for an answer, is a variant of one of
    them, or is only another system's yardstick.
    """

    kind = "model"
    trains: ClassVar[bool] = False
    by_name: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("text",)

    def serves(self, data: Any) -> str | None:
        """Why it cannot work with this data of its task; None: it can."""
        modality = getattr(data, "modality", "text")
        if modality in self.reads:
            return None
        return f"it reads {' and '.join(f'{what}s' for what in self.reads)}, and these are {modality}s"

    def check(self) -> None:
        """Refuses options that go together with no data (UserError), such as a backbone that there is not: what can be
        known before any data is read."""

    def waits_for(self, seed: int) -> str | None:
        """What it starts from, where that is yet to be made and takes minutes of its own; None: it can begin."""
        return None

    @abstractmethod
    def fit(
        self,
        data: Any,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        """A model made from the training part of `data` within `budget`.

        Args:
            data: the task's data.
            budget: steps, seconds or tokens.
            seed: of the initial weights, the batches and dropout.
            folder: where to keep checkpoints; a run that was interrupted goes on from there.
            until: stop at this share of the budget, with the schedule of the whole (racing).
        """

    def rehearse(self, data: Any) -> Model:
        """A model as it stands when training is about to begin, and the work that leads there; the pilot times it."""
        return self.fit(data, Steps(1)).model


class TrainedSystem(ModelSystem):
    """A system whose network is trained by the one training loop.

    It says how it starts (`start`), what a batch is (`batches`) and its loss (`loss`).
    """

    trains = True

    @abstractmethod
    def start(self, data: Any, seed: int) -> Model:
        """The model before training: tokenizer chosen, network built or loaded. Sees training data only."""

    @abstractmethod
    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        """A function from the step and the share of the budget that is spent (0 to 1) to a batch; pure in both."""

    @abstractmethod
    def loss(self, net: Part, batch: Any) -> Loss:
        """The loss of one batch."""

    def recipe(self) -> Recipe:
        """How it is optimised."""
        return Recipe(dtype=computing.dtype())

    def recipe_for(self, data: Any) -> Recipe:
        """How it is optimised on this data, where that depends on it."""
        return self.recipe()

    def rehearse(self, data: Any) -> Model:
        model = self.start(data, 0).to(computing.device())
        self.batches(model, data, 0)
        model.net.eval()
        return model

    def finish(self, model: Model) -> None:
        """Called when training is over, or has stopped at `until`: takes away, in place, what only training needs."""

    def fit(
        self,
        data: Any,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        model = self.start(data, seed).to(computing.device())
        history = train(
            model.net,
            self.loss,  # type: ignore[arg-type]  # the network is the one that start() made, a Part
            self.batches(model, data, seed),
            budget,
            self.recipe_for(data),
            seed=seed,
            folder=folder,
            until=until,
        )
        model.net.eval()
        self.finish(model)
        model.remember(self.id, self.options(), {"steps": history.steps, "seconds": round(history.seconds, 2)})
        return Fitted(model, history)


class Change(ABC):
    """What takes a trained model and gives back another. A model's system that inherits from it too can be applied.

    `calibrates` says whether it reads data; rows that are given to one that does not may be empty.
    """

    calibrates: ClassVar[bool] = True

    @abstractmethod
    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A changed copy of `model`; the one that was given stays as it is.

        Args:
            model: any model with a network.
            rows: data to calibrate on.
            seed: of the sample that is taken from `rows`.
        """


class TransformSystem(System, Change):
    """A system that changes trained models, and nothing else."""

    kind = "transform"

    def traced(self, model: Model) -> list[float]:
        """What the behaviour trace should hold of the model that `apply` gave, beside its outputs."""
        return []


@dataclass(frozen=True)
class Table:
    """One table of a report: a title, column names, and rows of text and numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Plot:
    """One figure of a report: named lines of (x, y) points."""

    title: str
    x: str
    y: str
    lines: dict[str, tuple[tuple[float, float], ...]]


@dataclass(frozen=True)
class HeatMap:
    """One figure of a report: a number for each row and column, None where there is none."""

    title: str
    x: str
    y: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Report:
    """What a study found: figures by name, tables, plots, and a few sentences.

    Args:
        extra: more for programs, JSON-able.
        tensors: weights that the study made, by the name of the file that they are written to and their own.
    """

    figures: dict[str, float]
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot | HeatMap, ...] = ()
    text: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All but the tensors, JSON-able."""
        return asdict(replace(self, tensors={})) | {
            "tensors": {name: sorted(own) for name, own in self.tensors.items()}
        }


class Analysis(ABC):
    """What measures or explains. A model or transform that inherits from it too offers a study under the same id."""

    @abstractmethod
    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """The report on a model, on data, or on neither."""


class StudySystem(System, Analysis):
    """A system that measures or explains, and nothing else."""

    kind = "study"
