"""The task `search`: for a query, the documents that answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import Rows, read
from twofold.errors import UserError
from twofold.measure import retrieval
from twofold.tasks.model import Model
from twofold.tasks.search.data import PARTS, SHARES, SearchData, from_rows
from twofold.tasks.search.model import EncoderModel, SearchModel
from twofold.tasks.task import Evaluation, Task

METRICS: tuple[str, ...] = ("ndcg@10", "mrr@10", "recall@100")


class SearchTask(Task):
    """Documents ranked for a query; nDCG@10 decides."""

    name: ClassVar[str] = "search"
    metric: ClassVar[str] = "ndcg@10"
    default_data: ClassVar[str] = "pycode"
    baselines: ClassVar[tuple[str, ...]] = ("bm25", "minilm")
    model: ClassVar[type[Model]] = EncoderModel
    shares: ClassVar[tuple[float, float, float]] = SHARES

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> SearchData:
        rows = source if isinstance(source, Rows) else read(source, columns=columns)
        return from_rows(rows)

    def evaluate(self, model: Model, data: SearchData, part: str = "test", **setting: Any) -> Evaluation:
        """Ranks the part's documents for each of its queries.

        Args:
            setting: `pool` and `queries` cut the number of documents and queries;
                `sample` chooses which (a repeat of a claim). `candidates`: each query ranks only the documents
                that were judged for it, answers and rivals; adds `recall@1`.
        """
        assert isinstance(model, SearchModel)
        pool, asked = sample(data, part, setting)
        index = model.build_index([data.documents[i] for i in pool])
        listed = bool(setting.get("candidates"))
        found = index.search([data.queries[i] for i in asked], k=len(pool) if listed else min(100, len(pool)))
        place = {int(d): n for n, d in enumerate(pool)}
        relevant = [{place[d]: g for d, g in data.relevant[q].items() if d in place} for q in asked]
        positions, metrics = found.positions, METRICS
        if listed:
            wrong = [[place[d] for d in rivals(data, q) if d in place] for q in asked]
            judged = [[*right, *others] for right, others in zip(relevant, wrong, strict=True)]
            positions, metrics = among(positions, judged), (*METRICS, "recall@1")
        scores = retrieval.from_positions(positions, relevant, metrics)
        figures = {name: float(values.mean()) for name, values in scores.items()}
        figures["bytes_per_document"] = index.nbytes / len(pool)
        multiplications = getattr(index, "multiplications", None)
        if multiplications is not None:
            figures["multiplications_per_query"] = float(multiplications)
        return Evaluation(figures, scores[str(setting.get("metric", self.metric))])

    def describe(self, data: SearchData) -> dict[str, Any]:
        counts = {p: {"documents": len(data.pool(p)), "queries": len(data.asked(p))} for p in PARTS}
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": counts,
            "notes": list(data.notes),
        }

    def cut(self, data: SearchData, share: float) -> SearchData:
        return data.limited({part: max(20, round(len(data.pool(part)) * share)) for part in PARTS})

    def requests(self, model: Model, data: SearchData) -> tuple[Callable[[Any], Any], list[Any]]:
        assert isinstance(model, SearchModel)
        index = model.build_index([data.documents[i] for i in data.pool("test")])
        queries = [data.queries[i] for i in data.asked("test")]
        return lambda query: index.search([query], 10), queries

    def ready(self, model: Model, data: SearchData) -> Model:
        assert isinstance(model, SearchModel)
        return model.index(data.documents, data.document_ids)


def sample(data: SearchData, part: str, setting: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The documents and queries of an evaluation: `queries` disjoint between samples, their documents in the pool."""
    pool, asked = data.pool(part), data.asked(part)
    if "queries" not in setting and "pool" not in setting:
        return pool, asked
    count, size = int(setting.get("queries", len(asked))), int(setting.get("pool", len(pool)))
    order = np.random.default_rng(0).permutation(asked)
    number = int(setting.get("sample", 0))
    if (number + 1) * count > len(order):
        raise ValueError(f"sample {number} of {count} queries needs {(number + 1) * count}, there are {len(order)}")
    chosen = np.sort(order[number * count : (number + 1) * count])
    answers = {d for q in chosen for d in data.relevant[q]}
    others = np.random.default_rng(number).permutation([d for d in pool if d not in answers])
    return np.sort(np.concatenate([sorted(answers), others[: max(0, size - len(answers))]]).astype(np.int64)), chosen


def rivals(data: SearchData, query: int) -> tuple[int, ...]:
    """The documents that were judged not to answer a query.

    Raises:
        UserError: the data has no such judgements.
    """
    if not data.rivals:
        raise UserError(f"{data.name} lists no candidates; add rows with grade 0 for documents that do not answer")
    return data.rivals[query]


def among(positions: np.ndarray, listed: Sequence[Sequence[int]]) -> np.ndarray:
    """Of each row of `positions`, those that its list holds, in their order; -1 fills up."""
    width = max(map(len, listed), default=0)
    kept = np.full((len(positions), width), -1, dtype=np.int64)
    for row, (found, wanted) in enumerate(zip(positions, listed, strict=True)):
        here = found[np.isin(found, np.asarray(wanted, dtype=np.int64))]
        kept[row, : len(here)] = here
    return kept
