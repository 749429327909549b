"""Words for lexical search, and BM25 over them with `bm25s`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import bm25s
import numpy as np
import scipy.sparse

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


class WordSets:
    """The set of words of each text, to say how alike two texts are."""

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        found = [[numbers.setdefault(word, len(numbers)) for word in set(words(text))] for text in texts]
        self.sizes = np.array([len(some) for some in found], dtype=np.int64)
        ends = np.concatenate([[0], self.sizes.cumsum()])
        columns = np.array([number for some in found for number in some], dtype=np.int64)
        self._table = scipy.sparse.csr_array(
            (np.ones(len(columns), np.int32), columns, ends), shape=(len(texts), max(1, len(numbers)))
        )

    def overlap(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Words that both texts of each pair hold, of those that either holds (Jaccard), `[n]`; 0 without any word."""
        both = self._table[first].multiply(self._table[second]).sum(1)
        return np.asarray(both / np.maximum(self.sizes[first] + self.sizes[second] - both, 1))


NEAR_DUPLICATE = 0.8
"""From here on two texts count as one: the bound of Lee et al. 2022, https://arxiv.org/abs/2107.06499, section 4.2."""
_AT_ONCE = 512  # queries whose candidates are compared with their answers at a time


def hard_negatives(
    data: SearchData, count: int, depth: int = 50, alike: float = NEAR_DUPLICATE, search: Search = bm25_search
) -> dict[int, np.ndarray]:
    """For each training query, documents of the training part that look like answers and are none.

    First those that the data itself says are none; then those that `search` ranks highest and that are not
    relevant, however far above the answer: there the search errs, and training shall see it (Karpukhin et al. 2020,
    https://arxiv.org/abs/2004.04906, section 3.2). Of these, near-duplicates of an answer are kept out, since they
    answer too, though nobody said so (false negatives).

    Args:
        count: at most so many a query.
        depth: of how many that are ranked highest they are taken.
        alike: a document whose overlap with an answer (`WordSets`) is at least this is a near-duplicate of it.

    Returns:
        Query index to document indices, at most `count` each; queries without any are left out.
    """
    pool, asked = data.pool("train"), data.asked("train")
    chosen = {int(q): np.array(data.rivals[q][:count]) for q in asked if data.rivals and data.rivals[q]}
    asked = np.array([q for q in asked if len(chosen.get(int(q), ())) < count], dtype=np.int64)
    if not len(asked):
        return chosen
    texts = [data.documents[i] for i in pool]
    ranked, found_scores = search(texts, [data.queries[q] for q in asked], depth)
    answering = _answering(
        WordSets(texts), ranked, [np.searchsorted(pool, list(data.relevant[q])) for q in asked], alike
    )
    for query, row, score, right in zip(asked, ranked, found_scores, answering, strict=True):
        wrong = pool[row[~right & (score > 0)]]
        judged = chosen.get(int(query), np.zeros(0, np.int64))
        wrong = np.concatenate([judged, wrong[~np.isin(wrong, judged)]])
        if len(wrong):
            chosen[int(query)] = wrong[:count]
    return chosen


def _answering(sets: WordSets, ranked: np.ndarray, answers: Sequence[np.ndarray], alike: float) -> np.ndarray:
    """Which of the texts ranked for each query are one of its answers, or a near-duplicate of one, `[queries, k]`."""
    found = np.zeros(ranked.shape, bool)
    for start in range(0, len(ranked), _AT_ONCE):
        some = answers[start : start + _AT_ONCE]
        rows = start + np.repeat(np.arange(len(some)), [len(one) for one in some])
        right = np.repeat(np.concatenate(some), ranked.shape[1]).reshape(-1, ranked.shape[1])
        overlap = sets.overlap(ranked[rows].ravel(), right.ravel()).reshape(right.shape)
        np.logical_or.at(found, rows, (ranked[rows] == right) | (overlap >= alike))
    return found
