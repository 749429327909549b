"""NoPE: which position scheme lets a decoder solve longer problems than it was trained on, and whether none is best.

Kazemnejad et al. 2023, "The Impact of Positional Encoding on Length Generalization in Transformers",
https://arxiv.org/abs/2305.19466
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field

from twofold import progress
from twofold.catalog import Arm, Claim, Guard, Steps, system
from twofold.catalog.own_files import own_function
from twofold.data.made import algorithms
from twofold.data.rows import Rows
from twofold.errors import UserError, unknown
from twofold.parts import SequenceModel, presets
from twofold.parts.fitting import check_heads
from twofold.systems.mixers.nope_report import Result, report
from twofold.systems.mixers.nope_scratchpad import FORMATS, StepPart, additions
from twofold.tasks import Model, Report, StudySystem
from twofold.tasks.solve import Packed, SolveData, SolveModel, solve_loss
from twofold.tasks.system import BYTES
from twofold.training import Recipe, train

Scheme = Literal["none", "t5", "alibi", "rope", "sinusoidal"]
SCHEMES: tuple[Scheme, ...] = ("none", "t5", "alibi", "rope", "sinusoidal")
TASKS = (*algorithms.NAMES, "addition")
STEPS = {"sort": 600}  # copy is learned more slowly, without positions above all; other tasks take as many steps


def _listed(value: Any) -> Any:
    """`copy,sort` as typed on a command line; `nope` is what the paper calls no position at all."""
    values = [v.strip() for v in value.split(",")] if isinstance(value, str) else value
    return tuple("none" if v == "nope" else v for v in values) if isinstance(values, list | tuple) else values


@dataclass(frozen=True)
class Exercise:
    """One task of the study: its name, its problems, and how long it is trained."""

    name: str
    data: SolveData
    steps: int


@system(
    "nope",
    number=93,
    title="The Impact of Positional Encoding on Length Generalization in Transformers",
    tasks=("solve",),
    source="https://arxiv.org/abs/2305.19466",
    year=2023,
    needs=(
        "which positional encoding extrapolates to longer inputs",
        "does my model work on sequences longer than in training",
        "compare rope, alibi, t5 bias and no positions",
        "length generalisation",
    ),
    simplified=(
        "decoders of three layers and width 64, lengths 10 to 20, in place of 107 million parameters, 20 to 40",
        "tasks copy, reverse, sort, sum, parity and addition; polynomials, LEGO, SCAN and PCFG are left out",
        "scratchpads for addition only",
    ),
)
class Nope(StudySystem):
    """Length generalisation of decoders with each position scheme, none included, trained from scratch."""

    schemes: Annotated[tuple[Scheme, ...], BeforeValidator(_listed)] = Field(
        SCHEMES, min_length=1, description="position schemes that are compared"
    )
    tasks: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        ("copy", "sort"), min_length=1, description="kinds of problem"
    )
    problems: str | None = Field(
        None, description="own generator, ./mine.py:function: a length in, (prompt, answer) out"
    )
    train_len: int = Field(10, ge=1, description="longest problems in training")
    test_len: int = Field(20, ge=2, description="longest problems in the test")
    steps: int | None = Field(
        None, ge=1, description="training steps a task; by default 600 for sort, 1,200 for others"
    )
    batch: int = Field(64, ge=2, description="problems in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    dim: int = Field(64, ge=8, description="width")
    layers: int = Field(3, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    each: int = Field(64, ge=1, description="test problems of each length")
    scratchpad: Annotated[tuple[StepPart, ...], BeforeValidator(_listed)] = Field(
        (), description="parts of a step that the task addition spells out"
    )
    full: bool = Field(False, description="every scheme, every task, and every scratchpad format of addition (hours)")

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """Trains a decoder for each task and scheme and reports accuracy by length.

        Args:
            model: none; the study trains its own.
            rows: own problems (columns prompt, answer, and length where it is not the prompt's); else `tasks` are made.
            seed: of the problems, the weights and the batches.
        """
        if model is not None:
            raise UserError("nope trains its own decoders; leave the model out")
        if self.train_len >= self.test_len:
            raise UserError(
                f"train_len is {self.train_len} and test_len {self.test_len}, so nothing longer is asked than was "
                "trained; raise test_len"
            )
        exercises = self.exercises(rows, seed)
        schemes = SCHEMES if self.full else self.schemes
        results = []
        with progress.stage("decoders", total=len(exercises) * len(schemes)) as stage:
            for exercise in exercises:
                for scheme in schemes:
                    results.append(self.measure(exercise, scheme, seed))
                    stage.advance(note=f"{exercise.name}, {scheme}")
        return report(results)

    def exercises(self, rows: Rows | None, seed: int) -> list[Exercise]:
        """The problems of every task."""
        if rows is not None:
            return [Exercise(rows.name, SolveData.from_rows(rows), self._steps(rows.name))]
        found: list[Exercise] = []
        for name in (self.problems,) if self.problems else TASKS if self.full else self.tasks:
            steps = self._steps(name)
            sizes: dict[str, Any] = {"train": min(steps * self.batch, 100_000), "each": self.each, "seed": seed}
            if self.problems:
                function = own_function(self.problems, "problems")
                data = [SolveData.from_function(name, function, self.train_len, self.test_len, **sizes)]
            elif name == "addition":
                formats = FORMATS if self.full else (self.scratchpad,)
                data = [additions(show, self.train_len, self.test_len, **sizes) for show in formats]
            elif name in algorithms.NAMES:
                data = [SolveData.made(name, self.train_len, self.test_len, **sizes)]
            else:
                raise unknown("task of nope", name, TASKS)
            found += [Exercise(d.name, d, steps) for d in data]
        return found

    def measure(self, exercise: Exercise, scheme: Scheme, seed: int) -> Result:
        """Trains one decoder from scratch and asks it every length."""
        data = exercise.data
        net = self.network(len(data.names), scheme, seed)
        batches = Packed(data.train, min(self.batch, len(data.train)), seed)
        train(net, solve_loss, batches, Steps(exercise.steps), Recipe(lr=self.lr), seed=seed)
        solver = SolveModel(net, None, {"names": list(data.names), "marker": data.marker})
        return Result(
            exercise.name,
            scheme,
            data.train_len,
            solver.score(data.test),
            solver.log_likelihood(data.validation),
            net,
            data,
        )

    def network(self, vocab: int, scheme: Scheme, seed: int) -> SequenceModel:
        """A decoder shaped like T5's: pre RMS norms, ReLU between, no biases; only the positions differ."""
        check_heads("nope", self.dim, self.heads)
        torch.manual_seed(seed)
        position = "sinusoid" if scheme == "sinusoidal" else scheme
        return presets.decoder(
            vocab, self.dim, self.layers, self.heads, position=position, activation="relu", gate=False
        )

    def outline(self, length: int) -> SequenceModel:
        return self.network(BYTES, "none", 0)

    def small(self) -> Self:
        tasks = tuple(self.tasks[:1])
        sizes: dict[str, Any] = {"steps": 20, "train_len": 3, "test_len": 4, "dim": 16, "layers": 1, "heads": 2}
        return replace(self, tasks=tasks, batch=8, each=4, full=False, problems=None, **sizes)  # type: ignore[type-var]

    def _steps(self, task: str) -> int:
        return self.steps or STEPS.get(task, 1200)

    claim: ClassVar[Claim] = Claim(
        says="without any position a decoder solves longer problems than with sinusoidal positions",
        paper="mean rank over tasks: NoPE best, then T5; ALiBi, rotary and absolute positions do not extrapolate",
        arms=(Arm("nope", schemes=("sinusoidal",)), Arm("nope", schemes=("none",))),
        data="algorithms",
        metric="accuracy_unseen",
        by=0.10,
        repeats=3,
        guards=(
            Guard("accuracy_in_range", of="baseline", at_least=0.9),
            Guard("accuracy_in_range", of="method", at_least=0.9),
        ),
        side=(Arm("nope", schemes=SCHEMES),),
        tune={"lr": (5e-4, 1e-3, 2e-3)},
        trial={"steps": 100, "each": 16},
        tune_by="log_likelihood",
        minutes=5,
    )
