"""What a comparison of models for code search shows: a table, wins by query, and what kinds of query are lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.measure import retrieval
from twofold.measure.statistics import bootstrap
from twofold.tasks import Report, Table
from twofold.tasks.search import SearchData, SearchModel
from twofold.tasks.search.lexical import words

METRICS = ("mrr", "map")


@dataclass(frozen=True)
class Judged:
    """One arm of the study on the test queries.

    Attributes:
        model, method, pooling: what it is.
        mrr, map: of each query, over all codes of the pool, `[queries]`.
        validation: MRR on the validation part; None where it was not looked at.
        seconds: of training and of encoding, states that were there already not counted.
        parameters, trained: weights, and how many of them were trained.
        megabytes: of its weights in memory.
        vector_bytes: of the vector of one code.
    """

    model: str
    method: str
    pooling: str
    mrr: np.ndarray
    map: np.ndarray
    validation: float | None = None
    seconds: float = 0.0
    parameters: int = 0
    trained: int = 0
    megabytes: float = 0.0
    vector_bytes: int = 0

    @property
    def label(self) -> str:
        """Its name in tables."""
        return ", ".join(part for part in (self.model, self.method, self.pooling) if part)


def figures_of(positions: np.ndarray, data: SearchData, part: str) -> dict[str, np.ndarray]:
    """MRR and MAP of each query of a part, from its codes in order, `[queries, codes]` places in the pool."""
    place = {int(d): n for n, d in enumerate(data.pool(part))}
    relevant = [{place[d]: grade for d, grade in data.relevant[q].items()} for q in data.asked(part)]
    return retrieval.from_positions(positions, relevant, METRICS)


def as_it_is(name: str, model: SearchModel, data: SearchData) -> Judged:
    """A search model on the test queries, by its own index."""
    started = time.perf_counter()
    pool = data.pool("test")
    index = model.build_index([data.documents[i] for i in pool])
    found = index.search([data.queries[i] for i in data.asked("test")], len(pool))
    figures = figures_of(found.positions, data, "test")
    costs: dict[str, Any] = {"parameters": model.parameters, "megabytes": model.bytes / 1e6}
    seconds, width = time.perf_counter() - started, index.nbytes // len(pool)
    return Judged(name, "as it is", "", figures["mrr"], figures["map"], seconds=seconds, vector_bytes=width, **costs)


def report(arms: Sequence[Judged], data: SearchData, seed: int) -> Report:
    """Figures of each arm, `mrr`, `map` and `validation_mrr` as means over arms that are networks, and tables.

    Args:
        arms: the first is what the others are compared with, query by query.
        data: whose test part was judged.
        seed: of intervals.
    """
    figures: dict[str, float] = {}
    for arm in arms:
        key = ".".join(part.replace(" ", "-") for part in (arm.model, arm.method, arm.pooling) if part)
        figures |= {f"mrr.{key}": float(arm.mrr.mean()), f"map.{key}": float(arm.map.mean())}
    networks = [arm for arm in arms if arm.parameters]
    figures |= {
        "mrr": float(np.mean([arm.mrr.mean() for arm in networks])),
        "map": float(np.mean([arm.map.mean() for arm in networks])),
    }
    known = [arm.validation for arm in networks if arm.validation is not None]
    if known:
        figures["validation_mrr"] = float(np.mean(known))
    asked, pool = len(data.asked("test")), len(data.pool("test"))
    text = (
        f"{asked} queries among {pool} codes. What a model read before is not known; "
        "public code may be in it, so that figures without tuning can be too high."
    )
    extra = {
        "queries": [data.queries[q] for q in data.asked("test")],
        "reciprocal_ranks": {arm.label: [round(float(v), 4) for v in arm.mrr] for arm in arms},
    }
    return Report(figures, (_table(arms, seed), _wins(arms), _kinds(arms, data)), (), text, extra)


def _table(arms: Sequence[Judged], seed: int) -> Table:
    rows = []
    for arm in arms:
        spread = bootstrap(arm.mrr, seed=seed)
        quality = (round(spread.mean, 4), round(spread.low, 4), round(spread.high, 4), round(float(arm.map.mean()), 4))
        costs = (arm.parameters, arm.trained, round(arm.megabytes, 1), arm.vector_bytes, round(arm.seconds, 1))
        rows.append((arm.model, arm.method, arm.pooling, *quality, *costs))
    columns = ("model", "method", "pooling", "MRR", "low", "high", "MAP", "weights", "trained", "MB", "bytes a code")
    return Table("Models for code search", (*columns, "seconds"), tuple(rows))


def _wins(arms: Sequence[Judged]) -> Table:
    """How many queries each arm answers better and worse than the first."""
    first = arms[0]
    rows = tuple(
        (
            arm.label,
            int((arm.mrr > first.mrr).sum()),
            int((arm.mrr == first.mrr).sum()),
            int((arm.mrr < first.mrr).sum()),
        )
        for arm in arms[1:]
    )
    return Table(f"Queries against {first.label}", ("arm", "better", "alike", "worse"), rows)


def _kinds(arms: Sequence[Judged], data: SearchData) -> Table:
    """MRR by length of the code, and by how many of the query's words are in it; thirds of the queries each."""
    asked = data.asked("test")
    codes = [words(data.documents[min(data.relevant[q])]) for q in asked]
    queries = [set(words(data.queries[q])) for q in asked]
    overlap = [len(query & set(code)) / max(1, len(query)) for query, code in zip(queries, codes, strict=True)]
    kinds = {
        "short code": (np.array([len(code) for code in codes]), 0),
        "long code": (np.array([len(code) for code in codes]), 2),
        "few shared words": (np.array(overlap), 0),
        "many shared words": (np.array(overlap), 2),
    }
    chosen = {
        name: np.array_split(np.argsort(values, kind="stable"), 3)[third] for name, (values, third) in kinds.items()
    }
    rows = tuple(
        (arm.label, *(round(float(arm.mrr[some].mean()), 4) if len(some) else None for some in chosen.values()))
        for arm in arms
    )
    return Table("MRR by kind of query", ("arm", *chosen), rows)
