"""Finding a system by what a person needs: BM25 over the cards. Light: standard library only.

Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with k1 = 1.2, b = 0.75.
"""

from __future__ import annotations

import math
import re
from collections import Counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

from twofold.catalog import index

_K1, _B = 1.2, 0.75
_STOP = frozenset("a an and are as at be by for from i in is it my of on or that the this to want with".split())  # noqa: SIM905


def find(need: str, limit: int = 10) -> list[dict[str, Any]]:
    """Cards ranked by how well they match `need`, each with a `score`; best first, only those that match."""
    cards = index.cards()
    documents = [Counter(_words(_text(card))) for card in cards]
    lengths = [sum(d.values()) for d in documents]
    average = sum(lengths) / max(1, len(lengths))
    scores = [0.0] * len(cards)
    for word in set(_words(need)):
        holding = [i for i, d in enumerate(documents) if word in d]
        rarity = math.log(1 + (len(cards) - len(holding) + 0.5) / (len(holding) + 0.5))
        for i in holding:
            count = documents[i][word]
            scores[i] += rarity * count * (_K1 + 1) / (count + _K1 * (1 - _B + _B * lengths[i] / average))
    ranked = sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: (-scores[i], cards[i]["id"]))
    return [{**cards[i], "score": round(scores[i], 3)} for i in ranked[:limit]]


def _text(card: dict[str, Any]) -> str:
    return " ".join(
        [card["id"], card["title"], card["summary"], *card.get("needs", ()), *card["tasks"], card["family"]]
    )


def _words(text: str) -> list[str]:
    return [_stem(w) for w in re.findall(r"[a-z0-9]+", text.lower()) if w not in _STOP]


def _stem(word: str) -> str:
    """Plural and gerund folded, enough for cards: `shrinking`, `shrinks` and `shrink` meet."""
    for ending in ("ing", "ies", "es", "ed", "s", "er"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
