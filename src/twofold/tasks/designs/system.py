"""Systems that look for a masked language model's design, and give the best one, trained."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import lru_cache, partial
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as options

from twofold.data.rows import Rows
from twofold.data.tokenizers import train_bpe
from twofold.errors import UserError
from twofold.measure.graph_distance import graph_distances, placed, stress
from twofold.parts import OPERATIONS, Design, SearchSpace, SequenceModel
from twofold.tasks.designs.proposers import Floats, Proposer
from twofold.tasks.designs.search import Bench, Limits, Trained, network, replay, search, table
from twofold.tasks.language.data import LanguageData
from twofold.tasks.model import Model
from twofold.tasks.registry import task
from twofold.tasks.represent import MaskedModel, MaskedSystem
from twofold.tasks.system import BYTES, Analysis, Plot, Report, Table, try_on_meta

TABLE_SEED = 0
"""Draws the designs of a table and their weights: all searches are replayed on one."""


def _design(value: Any) -> Any:
    return None if value is None else Design.read(value).rows()


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DesignSearch(MaskedSystem, Analysis):
    """A masked language model whose layers are chosen each for itself; its study says what was tried.

    A system adds who proposes the next design.
    """

    mask_rate: float = Field(0.15, gt=0, le=1, description="share of tokens that are hidden")
    design: Annotated[list[dict[str, Any]] | None, BeforeValidator(_design)] = Field(
        None,
        description="layers of the model, as a study gives them: [{operation: sdp, dim: 64, hidden: 256, heads: 2}]; "
        "by default they are searched for before training",
    )
    layers: tuple[PositiveInt, ...] = Field((2, 4), min_length=1, description="numbers of layers in the space")
    operations: tuple[str, ...] = Field(
        tuple(OPERATIONS),
        min_length=1,
        description="operations in the space: sdp, wma (attention), dft, dct, conv5, conv9, or any mixer by name",
    )
    dims: tuple[PositiveInt, ...] = Field((64, 128), min_length=1, description="widths in the space")
    hidden: tuple[PositiveInt, ...] = Field((128, 256), min_length=1, description="feed-forward widths in the space")
    heads: tuple[PositiveInt, ...] = Field((2, 4), min_length=1, description="numbers of heads in the space")
    stacks: tuple[PositiveInt, ...] = Field((1, 3), min_length=1, description="feed-forward parts of a layer")
    steps: int = Field(100, ge=1, description="training steps of each design in a search")
    queries: PositiveInt | None = Field(
        None, description="designs that a search trains; by default 20, or as many as fit into minutes"
    )
    minutes: float | None = Field(None, gt=0, description="after so many a search begins no further design")
    pool: int = Field(60, ge=2, description="designs that a search chooses from at first")
    given: int = Field(5, ge=1, description="designs that are trained before the first choice")
    texts: PositiveInt | None = Field(None, description="texts that a search uses at most; by default all")
    judged: int = Field(100, ge=1, description="texts that judge a design at most")
    repeats: int = Field(1, ge=0, description="study: how often the best designs are trained again, from fresh weights")
    table: PositiveInt | None = Field(
        None, description="study: train so many designs once, and replay the search on what came of them"
    )
    starts: int = Field(1, ge=1, description="study: searches that are replayed on a table, each from other designs")

    @abstractmethod
    def proposer(self, points: Floats, seed: int) -> Proposer:
        """Who says which design is next."""

    @property
    def space(self) -> SearchSpace:
        """All designs."""
        return SearchSpace(self.layers, self.operations, self.heads, self.dims, self.hidden, self.stacks)

    def network(self, vocab: int) -> SequenceModel:
        return network(Design.read(self.design), vocab, self.length)

    def check(self) -> None:
        if self.design is not None:
            super().check()
            return
        kinds = {(one.operation, one.dim, one.heads): one for one in self.space.choices}
        for layer in kinds.values():
            try_on_meta(partial(network, Design((layer,)), BYTES, self.length))

    def start(self, data: LanguageData, seed: int) -> Model:
        if self.design is not None:
            return super().start(data, seed)
        bench = self.bench(data, seed)
        best = min(self.search(bench, seed), key=lambda one: one.loss)
        assert best.net is not None
        return MaskedModel(best.net, bench.tokenizer, {"length": self.length, "design": best.design.rows()})

    def bench(self, data: LanguageData, seed: int) -> Bench:
        """What trains and judges designs, of the training texts alone."""
        texts = data.part("train")[: self.texts]
        tokenizer = train_bpe(texts, self.vocab)
        return Bench(
            texts,
            tokenizer,
            self.length,
            self.batch,
            self.mask_rate,
            self.steps,
            self.recipe(),
            seed,
            self.judged,
        )

    def search(self, bench: Bench, seed: int) -> list[Trained]:
        """Designs as the search trains them."""
        queries = 20 if self.queries is None and self.minutes is None else self.queries
        seconds = None if self.minutes is None else 60 * self.minutes
        run = max(1, max(self.layers) // 2)
        return search(
            self.space,
            bench,
            self.proposer,
            Limits(queries, seconds),
            pool=self.pool,
            given=self.given,
            run=run,
            seed=seed,
        )

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """Searches for a design on a person's text; or (`table`) says how many designs a search asks for.

        Args:
            model: none; designs are trained from the start.
            rows: texts in the column `text`; by default documentation of Python.
            seed: of the search; a table's designs and weights do not change with it.

        Raises:
            UserError: a model is given, or a space that cannot be.
        """
        if model is not None:
            raise UserError(f"{self.id} trains its own encoders; leave the model out and give it text")
        if self.table is not None:
            return self.replayed(rows, seed)
        bench = self.bench(_read(rows), seed)
        found = self.search(bench, seed)
        top = sorted(found, key=lambda one: one.loss)[:3]
        again = [
            [bench.train(one.design, seed=seed + 1 + turn).loss for turn in range(self.repeats)] or [one.loss]
            for one in top
        ]
        best = min(range(len(top)), key=lambda i: float(np.mean(again[i])))
        return _found(found, top, again, best)

    def replayed(self, rows: Rows | None, seed: int) -> Report:
        """Searches on a table of designs: a third of them even, the others with layers of all kinds."""
        assert self.table is not None
        found, points, distances = self.tabled(rows)
        losses = [one.loss for one in found]
        runs = [replay(losses, points, self.proposer, seed + turn, self.given) for turn in range(self.starts)]
        order = sorted(found, key=lambda one: one.loss)
        figures = {
            "queries": float(np.mean([run.queries for run in runs])),
            "relative_queries": float(np.mean([run.queries / run.expected for run in runs])),
            "expected_at_random": runs[0].expected,
            "best_loss": order[0].loss,
            "median_loss": float(np.median(losses)),
            "worst_loss": order[-1].loss,
            "stress": stress(distances, points),
            **_uneven(found),
        }
        shown = tuple((str(one.design), one.parameters, round(one.loss, 4)) for one in order[:10])
        starts = tuple((seed + turn, run.queries) for turn, run in enumerate(runs))
        tables = (
            Table("The ten best designs", ("design", "weights", "nats a hidden token"), shown),
            Table("Designs asked for", ("start", "queries"), starts),
        )
        points_of = tuple((float(one.parameters), one.loss) for one in sorted(found, key=lambda one: one.parameters))
        plot = Plot("Designs of the table", "weights", "nats a hidden token", {"designs": points_of})
        return Report(figures, tables, (plot,))

    def tabled(self, rows: Rows | None) -> tuple[list[Trained], Floats, Floats]:
        """The table, the points of its designs, and their distances."""
        assert self.table is not None
        data = _read(rows)
        bench = self.bench(data, TABLE_SEED)
        designs = drawn(self.space, self.table)
        found = table(bench, designs, data.fingerprint)
        distances = graph_distances([self.space.graph(design) for design in designs])
        return found, _placed(distances.tobytes(), len(designs)), distances

    def small(self) -> Self:
        sizes: dict[str, Any] = {"dims": (16, 24), "hidden": (16, 32), "layers": (1, 2), "heads": (2, 4), "given": 2}
        sizes |= {
            "steps": 2,
            "queries": 4,
            "minutes": None,
            "pool": 8,
            "judged": 4,
            "texts": 60,
            "starts": 1,
            "repeats": 1,
        }
        sizes |= {"table": None if self.table is None else 8}
        return replace(super().small(), **sizes)


def drawn(space: SearchSpace, count: int) -> list[Design]:
    """Designs of a table: a third of them even, the others of free layers; the same ones every time."""
    rng = np.random.default_rng(TABLE_SEED)
    even = space.sample(count // 3, rng, max(space.layers))
    others = (design for design in space.sample(2 * count, rng) if not design.even and design not in even)
    return [*even, *(design for design, _ in zip(others, range(count - len(even)), strict=False))]


@lru_cache(maxsize=4)
def _placed(distances: bytes, count: int) -> Floats:
    return placed(np.frombuffer(distances).reshape(count, count))


def _read(rows: Rows | None) -> LanguageData:
    job = task("represent")
    data = job.read(job.default_data if rows is None else rows)
    assert isinstance(data, LanguageData)
    return data


def _uneven(found: list[Trained]) -> dict[str, float]:
    """How much lower the best uneven design is than the best even one, with as many weights at most."""
    even = min((one for one in found if one.design.even), key=lambda one: one.loss, default=None)
    if even is None:
        return {}
    rivals = [one.loss for one in found if not one.design.even and one.parameters <= even.parameters]
    return {"uneven_gain": even.loss - min(rivals)} if rivals else {}


def _found(found: list[Trained], top: list[Trained], again: list[list[float]], best: int) -> Report:
    chosen = top[best]
    assert chosen.net is not None
    figures = {
        "best_loss": float(np.mean(again[best])),
        "found_loss": top[0].loss,
        "parameters": float(chosen.parameters),
        "designs": float(len(found)),
        "transferred": float(np.mean([one.given for one in found[1:]])) if len(found) > 1 else 0.0,
    }
    best_so_far = np.minimum.accumulate([one.loss for one in found])
    tried = tuple(
        (number, str(one.design), one.parameters, round(one.given, 3), round(one.loss, 4))
        for number, one in enumerate(found, 1)
    )
    repeated = tuple((str(one.design), round(float(np.mean(own)), 4)) for one, own in zip(top, again, strict=True))
    tables = (
        Table("Designs", ("number", "design", "weights", "weights given", "nats a hidden token"), tried),
        Table("The best, trained again from fresh weights", ("design", "nats a hidden token"), repeated),
    )
    line = tuple((float(number), float(loss)) for number, loss in enumerate(best_so_far, 1))
    plot = Plot("Best so far", "designs trained", "nats a hidden token", {"search": line})
    text = (
        f"Best design: {chosen.design} ({chosen.parameters:,} weights). It is in `design` of the report, for the "
        "option of that name, and in `backbone`, for every text system."
    )
    backbone = {"layers": chosen.design.entries(), "dim": chosen.design.layers[0].dim}
    extra = {"design": chosen.design.rows(), "backbone": backbone}
    tensors = {"best.safetensors": {name: value.detach() for name, value in chosen.net.tensors().items()}}
    return Report(figures, tables, (plot,), text, extra, tensors)
