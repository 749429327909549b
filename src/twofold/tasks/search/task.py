"""The task `search`: for a query, the documents that answer it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import Rows, captions, collections, read
from twofold.errors import UserError
from twofold.measure import retrieval
from twofold.tasks.model import Model
from twofold.tasks.search import lexical
from twofold.tasks.search.data import PARTS, SHARES, SearchData, from_collection, from_pictures, from_rows
from twofold.tasks.search.graded import agreement
from twofold.tasks.search.model import EncoderModel, SearchModel
from twofold.tasks.search.pairs import PairModel
from twofold.tasks.search.passages import Reranked
from twofold.tasks.search.vectors import Dense
from twofold.tasks.search.writing import WritingModel
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
        """Rows of queries with documents; a collection of BEIR, TREC or SMART files; or pictures with captions."""
        if not isinstance(source, Rows) and collections.find(Path(source)) is not None:
            return from_collection(collections.read_collection(Path(source)))
        if not isinstance(source, Rows) and (found := captions.find(Path(source), columns)) is not None:
            return from_pictures(found)
        rows = source if isinstance(source, Rows) else read(source, columns=columns)
        return from_rows(rows)

    def kind_of(self, spec: Mapping[str, Any]) -> type[Model]:
        return PairModel if "pairs" in spec else WritingModel if "writes" in spec else EncoderModel

    def evaluate(self, model: Model, data: SearchData, part: str = "test", **setting: Any) -> Evaluation:
        """Ranks the part's documents for each of its queries.

        Args:
            setting: `pool` and `queries` cut the number of documents and queries;
                `sample` chooses which (a repeat of a claim). `candidates`: each query ranks only the documents
                that were judged for it, answers and rivals; adds `recall@1`. `pairs`: nothing is ranked; so many
                pairs are told apart, every second an answer and the others wrong documents that BM25 ranks high
                (`auc`, the area under the ROC curve). `grader`: nothing is ranked; `similarity` is the rank
                correlation of cosines of documents with those of that model, on `texts` documents (300), of which
                both read the first `words` (16).
        """
        assert isinstance(model, SearchModel)
        if "grader" in setting:
            return _graded(model, data, part, setting)
        if "pairs" in setting:
            return _told_apart(model, data, part, int(setting["pairs"]))
        pool, asked = sample(data, part, setting)
        if not len(asked):
            raise UserError(
                f"{data.source}: no query of the part {part!r} has an answer; give grades of 1 or more there"
            )
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
        if isinstance(index, Reranked):
            figures["store_bytes_per_document"] = index.store.nbytes / len(pool)
        multiplications = getattr(index, "multiplications", None)
        if multiplications is not None:
            figures["multiplications_per_query"] = float(multiplications)
        return Evaluation(figures, scores.get(str(setting.get("metric")), scores[self.metric]))

    def fidelity(
        self, model: Model, dense: Model, data: SearchData, part: str = "test", **setting: Any
    ) -> dict[str, float]:
        """Compares the vectors that both models give the same documents.

        Args:
            setting: `texts`: how many documents; without it nothing is compared. `sample` chooses which, disjoint
                from those of other samples.

        Returns:
            `cosine_loss`: 1 − the mean cosine of both vectors of a document. `neighbour_loss`: the share of a
            document's 10 nearest others, by the dense model, that are not among its 10 by the changed one.

        Raises:
            UserError: models that do not give one vector a text.
        """
        count = int(setting.get("texts", 0))
        if not count:
            return {}
        number = int(setting.get("sample", 0))
        order = np.random.default_rng(0).permutation(data.pool(part))
        if (number + 1) * count > len(order):
            raise ValueError(f"sample {number} of {count} texts needs {(number + 1) * count}, there are {len(order)}")
        texts = [data.documents[i] for i in order[number * count : (number + 1) * count]]
        return drift(_single_vectors(model, texts), _single_vectors(dense, texts))

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


def pairs_of(data: SearchData, part: str, count: int) -> list[tuple[int, int, int]]:
    """`count` pairs as (query, document, 1 or 0): each query with an answer, and with one that BM25 ranks in error.

    Raises:
        UserError: the part has not so many.
    """
    pool, random = data.pool(part), np.random.default_rng(0)
    order = random.permutation(data.asked(part))
    engine = lexical.fit_bm25([data.documents[i] for i in pool])
    found, scores = lexical.top(engine, [data.queries[q] for q in order], 20)
    made: list[tuple[int, int, int]] = []
    for query, row, score in zip(order.tolist(), found, scores, strict=True):
        wrong = [int(d) for d in pool[row[score > 0]] if d not in data.relevant[query]]
        if wrong and len(made) < count:
            made += [(query, min(data.relevant[query]), 1), (query, wrong[random.integers(len(wrong))], 0)]
    if len(made) < count:
        raise UserError(
            f"{data.name}: {count} pairs were asked for, and its {part} part gives {len(made)}; ask for fewer"
        )
    return made


def _told_apart(model: SearchModel, data: SearchData, part: str, count: int) -> Evaluation:
    made = pairs_of(data, part, count)
    scores = model.pair_scores([data.queries[q] for q, _, _ in made], [data.documents[d] for _, d, _ in made])
    right, wrong = scores[::2], scores[1::2]
    above = (right[:, None] > wrong).mean(1) + 0.5 * (right[:, None] == wrong).mean(1)
    return Evaluation({"auc": float(above.mean())}, above)


def _graded(model: SearchModel, data: SearchData, part: str, setting: Mapping[str, Any]) -> Evaluation:
    from twofold.tasks.registry import load  # late: it knows every task

    grader = load(str(setting["grader"]))
    if not isinstance(model, EncoderModel) or not isinstance(grader, EncoderModel):
        raise UserError("similarity is compared between models that make vectors of texts; name two such")
    order = np.random.default_rng(0).permutation(data.pool(part))[: int(setting.get("texts", 300))]
    words = int(setting.get("words", 16))
    texts = list(dict.fromkeys(" ".join(data.documents[i].split()[:words]) for i in order))
    found, items = agreement(model, texts, grader)
    return Evaluation({"similarity": found}, items)


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


def drift(changed: np.ndarray, dense: np.ndarray, nearest: int = 10) -> dict[str, float]:
    """`cosine_loss` and `neighbour_loss` of the vectors `[n, d]` of a changed model, see `SearchTask.fidelity`."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (changed, dense))
    nearest = min(nearest, len(a) - 1)
    found = []
    for vectors in (a, b):
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -np.inf)
        found.append(np.argsort(-scores, axis=1, kind="stable")[:, :nearest])
    kept = np.mean([np.isin(x, y).mean() for x, y in zip(*found, strict=True)])
    return {"cosine_loss": float(1 - (a * b).sum(1).mean()), "neighbour_loss": float(1 - kept)}


def _single_vectors(model: Model, texts: Sequence[str]) -> np.ndarray:
    found = model.encode(texts) if isinstance(model, EncoderModel) else None
    if not isinstance(found, Dense):
        raise UserError(f"{model.name} does not give one vector a text; such models cannot be compared by their cosine")
    return found.values.double().numpy()
