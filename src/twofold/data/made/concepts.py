"""Made documents about concepts: every word is a concept's name or noise, so that what answers is exact."""

from __future__ import annotations

import itertools

import numpy as np

from twofold.data.rows import Rows

_SYLLABLES = [a + b for a, b in itertools.product("bdfgklmnprstvz", "aeiou")]


def concepts(
    train: int = 3000,
    validation: int = 300,
    test: int = 1000,
    queries: int = 500,
    count: int = 200,
    synonyms: int = 3,
    length: int = 128,
    fewest: int = 8,
    most: int = 10,
    named: int = 2,
    gap: float = 0.0,
    noise: float = 0.3,
    seed: int = 0,
) -> Rows:
    """Rows `query`, `document`, `grade` (1) and `split`.

    A document holds `length` words, of the names of a few concepts and of noise; a query names some of the concepts of
    one document, and every document of its part that is about all of them answers it. Many others are about one.

    Args:
        train, validation, test: documents; of train and validation each is asked about once.
        queries: of the test part.
        count: concepts.
        synonyms: names of a concept; the n-th is n times rarer than the first.
        length: words of a document.
        fewest, most: concepts of a document.
        named: concepts that a query names.
        gap: how likely a name in a query is drawn among all of the concept's, instead of among those in the document.
        noise: share of words that name no concept (500 of them, the n-th n times rarer than the first).
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    made = ["".join(s) for s in itertools.islice(itertools.product(_SYLLABLES, repeat=2), count * synonyms + 500)]
    words = np.array(made)[random.permutation(len(made))]
    names, others = words[: count * synonyms].reshape(count, synonyms), words[count * synonyms :]
    rare = 1 / np.arange(1, synonyms + 1)
    common = 1 / np.arange(1, len(others) + 1)
    rows: dict[str, list[object]] = {"query": [], "document": [], "grade": [], "split": []}
    for part, size in (("train", train), ("validation", validation), ("test", test)):
        about = np.zeros((size, count), bool)
        texts, written = [], []
        for n in range(size):
            chosen = random.permutation(count)[: random.integers(fewest, most + 1)]
            about[n, chosen] = True
            # Every concept of a document is named at least once.
            named_here = np.concatenate([chosen, random.choice(chosen, length - len(chosen))])
            which = random.choice(synonyms, length, p=rare / rare.sum())
            text = names[named_here, which]
            silent = random.random(length) < noise
            silent[: len(chosen)] = False
            text[silent] = random.choice(others, int(silent.sum()), p=common / common.sum())
            written.append({c: which[(named_here == c) & ~silent] for c in chosen})
            texts.append(" ".join(text[random.permutation(length)]))
        for n in random.permutation(size)[: queries if part == "test" else size]:
            asked = random.permutation(list(written[n]))[:named]
            told = [
                int(random.choice(synonyms, p=rare / rare.sum()))
                if random.random() < gap
                else random.choice(written[n][c])
                for c in asked
            ]
            query = " ".join(names[c, w] for c, w in zip(asked, told, strict=True))
            for answer in np.flatnonzero(about[:, asked].all(1)):
                for name, value in (("query", query), ("document", texts[answer]), ("grade", 1), ("split", part)):
                    rows[name].append(value)
        # The pool is whole, whether or not a document is asked about.
        asked_about = set(rows["document"])
        for text in texts:
            if text not in asked_about:
                for name, value in (("query", "nothing"), ("document", text), ("grade", 0), ("split", part)):
                    rows[name].append(value)
    return Rows.of(rows, name="concepts", source="made", prefix=f"made-{seed}")
