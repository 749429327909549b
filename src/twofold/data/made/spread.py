"""Made long documents whose evidence is spread out, so that no part of a document tells it from its rivals."""

from __future__ import annotations

import itertools

import numpy as np

from twofold.data.rows import Rows

_SYLLABLES = [a + b for a, b in itertools.product("bdfgklmnprstvz", "aeiou")]


def spread(
    train: int = 1200,
    validation: int = 200,
    test: int = 800,
    length: int = 512,
    same: int = 128,
    pieces: int = 4,
    rivals: int = 4,
    names: int = 200,
    noise: int = 100,
    seed: int = 0,
) -> Rows:
    """Rows `query`, `document`, `grade` (1; 0 for the training part's rivals) and `split`.

    Documents come in groups of `rivals`. Those of a group share their first `same` words and all but one of `pieces`
    names; each has its names at places by chance behind what they share, and noise elsewhere. A query is the names of
    one document.

    Args:
        train, validation, test: documents, each asked about once.
        length: words of a document.
        same: words at the beginning that a group shares.
        pieces: names in a document.
        rivals: documents of a group.
        names, noise: how many words name something, and how many others there are.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    made = ["".join(s) for s in itertools.islice(itertools.product(_SYLLABLES, repeat=2), 4 * (names + noise))]
    words = np.array(made)[random.permutation(len(made))]
    evidence, others = words[:names], words[names : names + noise]
    rows: dict[str, list[object]] = {"query": [], "document": [], "grade": [], "split": []}
    for part, size in (("train", train), ("validation", validation), ("test", test)):
        for _ in range(size // rivals):
            drawn = random.permutation(names)[: pieces - 1 + rivals]
            shared, own = drawn[: pieces - 1], drawn[pieces - 1 :]
            begin = random.choice(others, same)
            texts, queries = [], []
            for last in own:
                held = evidence[np.append(shared, last)]
                rest = random.choice(others, length - same)
                rest[random.permutation(len(rest))[:pieces]] = held
                texts.append(" ".join([*begin, *rest]))
                queries.append(" ".join(random.permutation(held)))
            for i, query in enumerate(queries):
                judged = [(texts[i], 1)]
                if part == "train":
                    judged += [(text, 0) for j, text in enumerate(texts) if j != i]
                for text, grade in judged:
                    for name, value in (("query", query), ("document", text), ("grade", grade), ("split", part)):
                        rows[name].append(value)
    return Rows.of(rows, name="spread", source="made", prefix=f"made-{seed}")
