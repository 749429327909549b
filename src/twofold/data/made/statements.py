"""Contexts of statements, and candidates of which one restates a statement.

A context states eight facts, each an entity, an attribute and a value out of 120 words. The right candidate restates
one of them in another order of words. Its rivals share its entity, or its value: to tell them apart, all eight
statements have to be remembered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.data.rows import Rows

ENTITIES, ATTRIBUTES, VALUES = 40, 16, 64
STATEMENTS = 8
RIVALS = {"train": 3, "validation": 19, "test": 19}
_SHARES = {"train": (0.0, 0.4), "validation": (0.4, 0.7), "test": (0.7, 1.0)}

Fact = tuple[int, int, int]
Facts = NDArray[np.int64]


def statements(train: int = 6400, validation: int = 200, test: int = 500, seed: int = 0) -> Rows:
    """Rows `query` (the context), `document` (a candidate), `grade` (1: restates, 0: rival) and `split`.

    Facts are divided between the parts, so that no candidate of the test was seen in training; all words were.
    A context has 19 rivals in validation and test, 3 in training.

    Args:
        train, validation, test: how many contexts.
        seed: of all of them.
    """
    random = np.random.default_rng(seed)
    words = _words(ENTITIES + ATTRIBUTES + VALUES)
    place = random.permutation(ENTITIES * ATTRIBUTES * VALUES).reshape(ENTITIES, ATTRIBUTES, VALUES) / (
        ENTITIES * ATTRIBUTES * VALUES
    )
    columns: dict[str, list[Any]] = {"query": [], "document": [], "grade": [], "split": []}
    for part, count in (("train", train), ("validation", validation), ("test", test)):
        low, high = _SHARES[part]
        for facts, candidates in _contexts((place >= low) & (place < high), count, RIVALS[part], random):
            context = " . ".join(" ".join(_named(words, fact)) for fact in facts)
            for number, fact in enumerate(candidates):
                columns["query"].append(context)
                columns["document"].append(" ".join(reversed(_named(words, fact))))
                columns["grade"].append(int(number == 0))
                columns["split"].append(part)
    return Rows.of(columns, name="statements", source=f"made, seed {seed}", splits=columns["split"])


def _contexts(
    allowed: NDArray[np.bool_], count: int, rivals: int, random: np.random.Generator
) -> Iterator[tuple[list[Fact], list[Fact]]]:
    """Facts of a context, and its candidates, the right one first. All of them are `allowed`."""
    for _ in range(count):
        facts = _facts(allowed, random)
        answer = facts[random.integers(STATEMENTS)]
        yield facts, [answer, *_rivals(allowed, answer, rivals, random)]


def _facts(allowed: NDArray[np.bool_], random: np.random.Generator) -> list[Fact]:
    """Facts about different entities with different values, so that each says something of its own."""
    facts: list[Fact] = []
    free = np.ones(VALUES, bool)
    for entity in random.permutation(ENTITIES)[:STATEMENTS]:
        choices = np.argwhere(allowed[entity] & free)
        attribute, value = choices[random.integers(len(choices))]
        free[value] = False
        facts.append((int(entity), int(attribute), int(value)))
    return facts


def _rivals(allowed: NDArray[np.bool_], answer: Fact, count: int, random: np.random.Generator) -> list[Fact]:
    """Other facts that share the answer's entity or, in turns, its value, but not both."""
    entity, _, value = answer
    same_entity = [(entity, int(a), int(v)) for a, v in np.argwhere(allowed[entity]) if v != value]
    same_value = [(int(e), int(a), value) for e, a in np.argwhere(allowed[:, :, value]) if e != entity]
    chosen = [[kind[i] for i in random.permutation(len(kind))[:count]] for kind in (same_entity, same_value)]
    return [fact for pair in zip(*chosen, strict=True) for fact in pair][:count]


def _named(words: list[str], fact: Fact) -> list[str]:
    entity, attribute, value = fact
    return [words[entity], words[ENTITIES + attribute], words[ENTITIES + ATTRIBUTES + value]]


def _words(count: int) -> list[str]:
    """Words of two syllables, no two alike."""
    syllables = [onset + vowel for onset in "bdfgklmnprstvz" for vowel in "aeiou"]
    every = [first + second for first in syllables for second in syllables]
    return [every[i] for i in np.random.default_rng(0).permutation(len(every))[:count]]
