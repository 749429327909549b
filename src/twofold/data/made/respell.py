"""`respell`: words of the standard library's documentation, misspelled, and as they are spelled."""

from __future__ import annotations

import re

import numpy as np

from twofold.data import standard_library
from twofold.data.noise import noisy
from twofold.data.rows import Rows

WORDS = 3000
KINDS = ("mutate", "repeat", "drop")


def respell(words: int = WORDS, seed: int = 0) -> Rows:
    """Columns `source` (a misspelled word), `target` (the word) and `group` (the word: none is in two parts).

    The most frequent words of 5 to 12 letters, each with one misspelling of three kinds: letters dropped, added to or
    replaced; letters repeated; letters dropped.
    """
    counts: dict[str, int] = {}
    for text in standard_library.texts().columns["text"]:
        for word in re.findall(r"\b[a-z]{5,12}\b", text):
            counts[word] = counts.get(word, 0) + 1
    chosen = sorted(counts, key=lambda word: (-counts[word], word))[:words]
    random = np.random.default_rng(seed)
    pairs = [(noisy(word, kind, random), word) for word in chosen for kind in KINDS]
    columns = {
        "source": [source for source, _ in pairs],
        "target": [target for _, target in pairs],
        "group": [target for _, target in pairs],
    }
    source = f"made from words of {standard_library.texts().source}"
    return Rows("respell", columns, f"respell-{words}-{seed}-{standard_library.texts().fingerprint}", source)
