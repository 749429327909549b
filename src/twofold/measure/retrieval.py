"""Figures of ranked lists, as trec_eval counts them: through `ir-measures`, or vectorised from positions.

Names: `ndcg@10`, `mrr@10`, `recall@100`, `precision@5`, `map@100`, and without a cutoff `ndcg`, `mrr`, `map`.

Every query with judgements counts, also one that the run lacks or that has no relevant document: its figures are 0
(trec_eval's `-c`). Queries of the run without judgements are left out. Judgements <= 0 are not relevant; nDCG takes
the judgement as its gain (Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twofold.errors import UserError, unknown

METRICS = ("ndcg@10", "mrr@10", "recall@100")

_LIBRARY = {"ndcg": "nDCG", "mrr": "RR", "recall": "R", "precision": "P", "map": "AP"}
_CUT_ALWAYS = ("recall", "precision")

Figures = dict[str, NDArray[np.float64]]


def from_run(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, int]],
    metrics: Sequence[str] = METRICS,
) -> Figures:
    """Figures of every judged query.

    Equal scores are ordered by the document's id, the later one first, as in trec_eval; without this the
    libraries behind different figures would break ties differently.

    Args:
        run: query id to document id to score, more is better.
        qrels: query id to document id to judgement (0: not relevant).
        metrics: names as above.

    Returns:
        For every metric its figures `[queries]`, 0 to 1, in the order of `qrels`.

    Raises:
        UserError: an unknown metric.
        ValueError: a score that is not a number.
    """
    import ir_measures

    wanted = {name: ir_measures.parse_measure(_library_name(name)) for name in metrics}
    order = {query: place for place, query in enumerate(qrels)}
    ranked = {query: _ranks(query, scores) for query, scores in run.items() if query in order}
    figures = {name: np.zeros(len(order)) for name in wanted}
    by_measure = {measure: figures[name] for name, measure in wanted.items()}
    judged = {query: {d: int(g) for d, g in documents.items()} for query, documents in qrels.items()}
    for metric in ir_measures.iter_calc(list(by_measure), judged, ranked):
        by_measure[metric.measure][order[metric.query_id]] = metric.value
    return figures


def from_positions(
    positions: ArrayLike,
    relevant: Sequence[Mapping[int, int]],
    metrics: Sequence[str] = METRICS,
) -> Figures:
    """Figures of every query from the documents' positions, vectorised; equal to `from_run`.

    Args:
        positions: the documents of every query, best first, `[queries, k]` integers; -1 fills short lists. A
            metric cut deeper than `k` counts what is there, as for a run of `k` documents.
        relevant: for every query, position of a document to its judgement.
        metrics: names as above.

    Returns:
        For every metric its figures `[queries]`, 0 to 1.

    Raises:
        UserError: an unknown metric.
        ValueError: shapes that do not match, or a document that is listed twice for one query.
    """
    found = np.asarray(positions)
    if found.ndim != 2 or len(found) != len(relevant):
        raise ValueError(f"positions of shape {found.shape} for {len(relevant)} queries; [queries, k] is needed")
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"positions must be integers, got {found.dtype}")
    ordered = np.sort(found, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("a document is listed twice for one query")
    parsed = {name: _parse(name) for name in metrics}
    gains, ideal = _gains(found, relevant)
    return {name: _figure(kind, cutoff, gains, ideal) for name, (kind, cutoff) in parsed.items()}


def means(figures: Figures) -> dict[str, float]:
    """The mean over queries of every metric; 0 where there are no queries."""
    return {name: float(values.mean()) if len(values) else 0.0 for name, values in figures.items()}


def _figure(
    kind: str, cutoff: int | None, gains: NDArray[np.float64], ideal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One metric from the gains in the order found `[queries, k]` and in the best order `[queries, most relevant]`."""
    top = gains[:, :cutoff]
    hit = top > 0
    ranks = np.arange(1, top.shape[1] + 1)
    total = (ideal > 0).sum(axis=1)
    if kind == "ndcg":
        return _share(_discounted(top), _discounted(ideal[:, :cutoff]))
    if kind == "mrr":
        return (hit / ranks).max(axis=1, initial=0.0)
    if kind == "recall":
        return _share(hit.sum(axis=1), total)
    if kind == "precision":
        return hit.sum(axis=1) / (cutoff or 1)
    return _share((hit * hit.cumsum(axis=1) / ranks).sum(axis=1), total)


def _discounted(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    return gains @ (1 / np.log2(np.arange(2, gains.shape[1] + 2)))


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """`part / whole`, 0 where there is nothing to find."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _gains(
    found: NDArray[np.integer], relevant: Sequence[Mapping[int, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gains in the order found `[queries, k]`, and the positive gains in falling order, filled with 0."""
    triples = [(query, doc, gain) for query, docs in enumerate(relevant) for doc, gain in docs.items() if gain > 0]
    if not triples:
        return np.zeros(found.shape), np.zeros((len(found), 0))
    queries, documents, judged = np.array(triples).T
    width = int(max(documents.max(), found.max(initial=0))) + 1
    keys = queries * width + documents
    order = np.argsort(keys)
    keys, values = keys[order], judged[order]
    asked = np.arange(len(found))[:, None] * width + found
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    gains = np.where((keys[place] == asked) & (found >= 0), values[place], 0)

    falling = np.lexsort((-judged, queries))
    column = np.arange(len(queries)) - np.searchsorted(queries, queries)
    ideal = np.zeros((len(found), int(column.max()) + 1))
    ideal[queries[falling], column] = judged[falling]
    return gains.astype(np.float64), ideal


def _ranks(query: str, scores: Mapping[str, float]) -> dict[str, float]:
    """Scores without ties and of few digits: the best of n documents gets n, the last 1."""
    if any(math.isnan(score) for score in scores.values()):
        raise ValueError(f"query {query!r} has a score that is not a number")
    best_first = sorted(scores.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)
    return {document: float(len(scores) - place) for place, (document, _) in enumerate(best_first)}


def _parse(name: str) -> tuple[str, int | None]:
    kind, at, cutoff = name.lower().partition("@")
    if kind not in _LIBRARY:
        raise unknown("retrieval metric", name, _known())
    if not at and kind in _CUT_ALWAYS:
        raise UserError(f"{name!r} needs a cutoff; write {name}@100")
    if at and not (cutoff.isdecimal() and int(cutoff) > 0):
        raise UserError(f"{name!r} has no usable cutoff; write {kind}@10")
    return kind, int(cutoff) if at else None


def _library_name(name: str) -> str:
    kind, cutoff = _parse(name)
    return f"{_LIBRARY[kind]}@{cutoff}" if cutoff else _LIBRARY[kind]


def _known() -> Iterable[str]:
    return [f"{kind}@10" for kind in _LIBRARY]
