"""Whether judgements belong to the queries beside them: an answer shares more words with its query than others do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_WORDS = re.compile(r"\w+")
_QUERIES = 100  # looked at
_MORE = 1.2  # times the words that chance shares, below which judgements look as if they were of other queries


def unrelated(
    judgements: Mapping[str, Mapping[str, int]], queries: Mapping[str, str], documents: Mapping[str, str]
) -> str | None:
    """A note where documents that were judged relevant share hardly more words with their queries than those of the
    other queries do, rare words counting more; None where they do, or where there are too few queries to tell.

    Args:
        judgements: grades by document, by query.
        queries, documents: texts by id.
    """
    asked = [query for query, judged in judgements.items() if any(grade > 0 for grade in judged.values())]
    if len(asked) < 10:
        return None
    asked = [asked[i] for i in np.linspace(0, len(asked) - 1, min(len(asked), _QUERIES)).astype(int)]
    relevant = [next(id for id, grade in judgements[query].items() if grade > 0) for query in asked]
    found = [_words(documents[id]) for id in relevant]
    known = Counter(word for words in found for word in words)
    own = _shared([queries[query] for query in asked], found, known)
    others = _shared([queries[query] for query in asked], found[1:] + found[:1], known)
    if own > _MORE * others:
        return None
    return "relevant documents share no more words with their queries than others do: do both files mean the same ids?"


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text.casefold()))


def _shared(asked: Sequence[str], found: Iterable[set[str]], known: Mapping[str, int]) -> float:
    """Mean share of the queries' words, each weighted by its rarity, that are in the documents."""
    shares = []
    for query, words in zip(asked, found, strict=True):
        weights = {word: 1 / known[word] for word in _words(query) if word in known}
        if weights:
            shares.append(sum(weight for word, weight in weights.items() if word in words) / sum(weights.values()))
    return float(np.mean(shares)) if shares else 0.0
