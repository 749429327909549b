"""Words for lexical search, and BM25 over them with `bm25s`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import bm25s
import numpy as np

from twofold.tasks.search.data import SearchData

_TOKEN = re.compile(r"\w+")
_INSIDE = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of"}
    | {"on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "with"}
)  # fmt: skip


def words(text: str) -> list[str]:
    """Lower-cased words without stop words; `read_csv` and `readCsv` give themselves and their parts."""
    found: list[str] = []
    for token in _TOKEN.findall(text):
        inside = _INSIDE.findall(token)
        whole = token.lower()
        found.append(whole)
        if len(inside) > 1:
            found += [part.lower() for part in inside]
    return [stem(word) for word in found if word not in STOP_WORDS]


def stem(word: str) -> str:
    """Plural endings off (Harman 1991, the S stemmer)."""
    if len(word) > 3 and word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if len(word) > 2 and word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def fit_bm25(documents: Sequence[str], k1: float = 1.2, b: float = 0.75) -> bm25s.BM25:
    """An index over `documents`. Robertson et al. 1994; Lucene's form of the inverse document frequency."""
    engine = bm25s.BM25(k1=k1, b=b, method="lucene")
    engine.index([words(d) or [""] for d in documents], show_progress=False)
    return engine


def top(engine: bm25s.BM25, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Document indices and scores, best first, `[n, k]` each (k cut to the number of documents)."""
    k = min(k, int(engine.scores["num_docs"]))
    tokens = [[w for w in words(q) if w in engine.vocab_dict] for q in queries]
    positions = np.tile(np.arange(k), (len(tokens), 1))  # a query without a known word finds all alike
    scores = np.zeros(positions.shape, np.float32)
    known = [row for row, found in enumerate(tokens) if found]
    if known:
        found = engine.retrieve([tokens[row] for row in known], k=k, show_progress=False)
        positions[known], scores[known] = found.documents, found.scores
    return positions, scores


def scores(engine: bm25s.BM25, query: str) -> np.ndarray:
    """The score of every document for one query, `[n]`."""
    known = [w for w in words(query) if w in engine.vocab_dict]
    return engine.get_scores(known) if known else np.zeros(int(engine.scores["num_docs"]), np.float32)


def bm25_search(documents: Sequence[str], queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `documents` and scores, best first, `[queries, k]` each."""
    return top(fit_bm25(documents), queries, k)


Search = Callable[[Sequence[str], Sequence[str], int], tuple[np.ndarray, np.ndarray]]
"""Documents, queries and k to the indices of the best documents and their scores, `[queries, k]` each."""


def hard_negatives(
    data: SearchData, count: int, depth: int = 50, margin: float = 0.95, search: Search = bm25_search
) -> dict[int, np.ndarray]:
    """For each training query, documents of the training part that look like answers and are none.

    First those that the data itself says are none; then those that `search` ranks highest and that are not
    relevant. Of these, one that scores at least `margin` of the relevant one's score above it is kept out:
    it is likely relevant, though nobody said so (a false negative).

    Returns:
        Query index to document indices, at most `count` each; queries without any are left out.
    """
    pool, asked = data.pool("train"), data.asked("train")
    chosen = {int(q): np.array(data.rivals[q][:count]) for q in asked if data.rivals and data.rivals[q]}
    asked = np.array([q for q in asked if len(chosen.get(int(q), ())) < count], dtype=np.int64)
    if not len(asked):
        return chosen
    ranked, found_scores = search([data.documents[i] for i in pool], [data.queries[q] for q in asked], depth)
    for query, row, score in zip(asked, ranked, found_scores, strict=True):
        found = pool[row]
        answers = data.relevant[query]
        is_answer = np.array([d in answers for d in found])
        best = score[is_answer].max() if is_answer.any() else np.inf
        wrong = found[~is_answer & (score > 0) & (score < best / margin)]
        judged = chosen.get(int(query), np.zeros(0, np.int64))
        wrong = np.concatenate([judged, wrong[~np.isin(wrong, judged)]])
        if len(wrong):
            chosen[int(query)] = wrong[:count]
    return chosen
