"""Claims as data: what a paper says, and the comparison that checks it. Light: standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Steps:
    """A budget of optimizer steps."""

    amount: int


@dataclass(frozen=True)
class Seconds:
    """A budget of training seconds."""

    amount: float


@dataclass(frozen=True)
class Tokens:
    """A budget of training tokens."""

    amount: int


@dataclass(frozen=True)
class Parameters:
    """A budget of parameters."""

    amount: int


Budget = Steps | Seconds | Tokens | Parameters


@dataclass(frozen=True, init=False)
class Arm:
    """One side of a comparison: any system or baseline by its id, with options. `Arm("gtr", size="small")`."""

    id: str
    options: Mapping[str, Any]

    def __init__(self, id: str, /, **options: Any) -> None:
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "options", options)

    @property
    def label(self) -> str:
        """The arm as a person reads it: `gtr (size=small)`."""
        if not self.options:
            return self.id
        return f"{self.id} ({', '.join(f'{k}={_short(v)}' for k, v in self.options.items())})"


def _short(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


@dataclass(frozen=True)
class Guard:
    """A condition under which a claim says anything at all: a figure of an arm, within bounds, on average."""

    figure: str
    of: Literal["baseline", "method"] = "baseline"
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Saving:
    """What a parity claim must save: `figure` of the method divided by the baseline's, at most `ratio`."""

    figure: str
    ratio: float


@dataclass(frozen=True)
class Claim:
    """A paper's headline and the comparison that measures it again.

    Args:
        says: the effect, in one sentence.
        paper: the figure the paper reports.
        arms: the baseline, then the method.
        data: the data set's name.
        columns: wanted names of columns to the data's, where they have others.
        metric: the figure that is compared.
        by: the smallest effect that counts (of the logarithms' difference when `scale="ratio"`).
            For a parity claim: the largest loss that is allowed.
        budget: what every arm may spend; None where nothing is trained.
        repeats: how many paired repeats, at least 3.
        repeat: what a repeat is.
        direction: whether more or less of the metric is better.
        scale: differences, or ratios (differences of logarithms).
        parity: "as good, for less" instead of "better by".
        saving: what a parity claim must save.
        guards: conditions without which the verdict is void.
        further: more data sets of the same kind; each arm is run on every one, and a figure is the mean over them.
        on: the checkpoint that a transform starts from.
        task: the task that evaluates the arms; None for the first of the system's tasks. `study`: the figures are
            those of the arms' own studies, as they are for systems that are nothing else.
        setting: the evaluation's settings, as the task understands them.
        side: arms measured beside the primary comparison; they never decide.
        tune: options to choose per arm on validation before the verdict, with their candidates.
        trial: options of the tuning runs alone (a study's fewer steps).
        tune_by: the figure that tuning goes by; None for the metric.
        minutes: what the primary comparison takes on two cores, about.
    """

    says: str
    paper: str
    arms: tuple[Arm, Arm]
    data: str
    metric: str
    by: float
    budget: Budget | None = None
    repeats: int = 3
    repeat: Literal["seed", "sample", "file"] = "seed"
    direction: Literal["higher", "lower"] = "higher"
    scale: Literal["difference", "ratio"] = "difference"
    parity: bool = False
    saving: Saving | None = None
    guards: tuple[Guard, ...] = ()
    further: tuple[str, ...] = ()
    on: str | None = None
    task: str | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    side: tuple[Arm, ...] = ()
    tune: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    trial: Mapping[str, Any] = field(default_factory=dict)
    tune_by: str | None = None
    minutes: float = 4.0
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.repeats < 3:
            raise ValueError(f"a claim needs at least 3 repeats, got {self.repeats}")
        if self.parity and self.saving is None:
            raise ValueError("a parity claim states what it saves: give saving=Saving(figure, ratio)")

    def as_dict(self) -> dict[str, Any]:
        """The claim as JSON-able data; what is not set is left out."""
        out = asdict(self)
        out["budget"] = budget_dict(self.budget)
        return {k: v for k, v in out.items() if v not in (None, (), {}, False)}


def budget_dict(budget: Budget | None) -> dict[str, float] | None:
    """`{"steps": 300}` and the like."""
    return None if budget is None else {type(budget).__name__.lower(): budget.amount}
