"""Hard negatives from any search model, and a teacher's scores of pairs, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from twofold.checkpoints import KNOWN
from twofold.errors import UserError
from twofold.tasks import registry
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.lexical import hard_negatives
from twofold.tasks.search.model import LexicalModel, SearchModel


def searcher(name: str, spec: Mapping[str, Any]) -> SearchModel:
    """A search model by name: `bm25`, a checkpoint such as `minilm`, or a model folder.

    Args:
        spec: of the model that learns from it: it reads texts cut at the same lengths.

    Raises:
        UserError: no such model, or it does not search.
    """
    if name == "bm25":
        return LexicalModel(None, None, {})
    model = registry.load(name)
    if not isinstance(model, SearchModel):
        raise UserError(f"{name} is a model for {model.task}, which cannot rank documents; name a search model or bm25")
    model.spec |= {key: spec[key] for key in ("query_tokens", "document_tokens")}
    return model


def mine(data: SearchData, count: int, searchers: Sequence[SearchModel]) -> dict[int, np.ndarray]:
    """Hard negatives of each training query, in turns from every searcher's list, at most `count`.

    With several searchers, those of Formal et al. 2022 (https://arxiv.org/abs/2205.04733), "ensemble".
    """
    mined = [
        hard_negatives(data, count, search=lambda documents, queries, k, by=by: _found(by, documents, queries, k))  # type: ignore[misc]
        for by in searchers
    ]
    chosen = {}
    for query in {q: None for found in mined for q in found}:
        lists = [found[query] for found in mined if query in found]
        turns = [int(one[i]) for i in range(max(map(len, lists))) for one in lists if i < len(one)]
        chosen[query] = np.array(list(dict.fromkeys(turns))[:count], dtype=np.int64)
    return chosen


def _found(
    model: SearchModel, documents: Sequence[str], queries: Sequence[str], k: int
) -> tuple[np.ndarray, np.ndarray]:
    found = model.build_index(documents).search(queries, min(k, len(documents)))
    return found.positions, found.scores


class Teacher:
    """What a search model thinks of the training pairs and of each query's hard negatives.

    Args:
        name, spec: as `searcher` has them.
        scale: its scores are multiplied by it (cosines are small for margins).
    """

    def __init__(
        self, name: str, spec: Mapping[str, Any], data: SearchData, negatives: Mapping[int, np.ndarray], scale: float
    ) -> None:
        pairs = [(int(q), int(d)) for q, d in data.pairs]
        pairs += [(q, int(d)) for q, found in negatives.items() for d in found]
        texts = tuple((data.queries[q], data.documents[d]) for q, d in pairs)
        lengths = int(spec["query_tokens"]), int(spec["document_tokens"])
        # What stands at a path may change, so only scores of models with a fixed name are kept.
        judge = _judged if name in ("bm25", *KNOWN) else _judged.__wrapped__
        self._scores = dict(zip(pairs, (scale * judge(name, *lengths, texts)).tolist(), strict=True))

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> np.ndarray:
        """The score of each query with the document at its side, `[n]`."""
        return np.array([self._scores[q, d] for q, d in zip(queries, documents, strict=True)], dtype=np.float32)


@lru_cache(maxsize=2)  # the seeds of a claim, and its arms, ask the same teacher the same things
def _judged(name: str, query_tokens: int, document_tokens: int, pairs: tuple[tuple[str, str], ...]) -> np.ndarray:
    teacher = searcher(name, {"query_tokens": query_tokens, "document_tokens": document_tokens})
    return teacher.pair_scores([query for query, _ in pairs], [document for _, document in pairs])
