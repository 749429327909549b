"""Does a statement follow from others? A small language whose meaning decides: entailment, neutral, contradiction.

Statements are quantified over kinds of animals: "every small dog runs", "some pets do not sleep". What follows is
computed, not annotated. Each individual is of a *type*, the set of the words that are true of it; kinds stand in a
hierarchy, and different kinds at the end of it exclude each other. A universal statement forbids types, an existential
one asks for an individual of one of some types; so a set of statements can be true together if and only if every
existential one finds a type that none of the universal ones forbids. All subjects are taken to exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from twofold.data.made.labelled import Example, gathered, pick, sentence
from twofold.data.rows import Rows

Label = Literal["entailment", "neutral", "contradiction"]
LABELS: tuple[Label, ...] = ("entailment", "neutral", "contradiction")
Quantifier = Literal["every", "some", "no", "not every"]
QUANTIFIERS: tuple[Quantifier, ...] = ("every", "some", "no", "not every")

PARENT = {
    "poodle": "dog", "beagle": "dog", "dog": "animal", "cat": "animal", "horse": "animal",
    "robin": "bird", "owl": "bird", "bird": "animal",
    "sprint": "run", "run": "move", "crawl": "move", "nap": "sleep",
}  # fmt: skip
"""Word → the more general word that holds of whatever it holds of."""
EXCLUSIVE = (("dog", "cat", "horse", "bird"), ("poodle", "beagle"), ("robin", "owl"), ("move", "sleep"))
"""Words of which at most one holds of an individual."""
NOUNS = ("poodle", "beagle", "dog", "cat", "horse", "robin", "owl", "bird", "animal")
VERBS = ("sprint", "run", "crawl", "move", "nap", "sleep")
ADJECTIVES = ("small", "old", "white", "hungry")
_MANY_TRIES = 400


@dataclass(frozen=True)
class Statement:
    """A quantifier, what it ranges over (an adjective or none, and a noun), and the verb that is said of it."""

    quantifier: Quantifier
    adjective: str | None
    noun: str
    verb: str

    @property
    def subject(self) -> tuple[str, ...]:
        """The words that make up the subject."""
        return (self.noun,) if self.adjective is None else (self.adjective, self.noun)

    def __str__(self) -> str:
        subject = " ".join(self.subject)
        if self.quantifier == "not every":
            return f"not every {subject} {self.verb}s"
        return f"{self.quantifier} {subject} {self.verb}s"


def _closed(words: Iterable[str]) -> frozenset[str]:
    """The words and all that are more general."""
    closed: set[str] = set()
    for word in words:
        current: str | None = word
        while current is not None:
            closed.add(current)
            current = PARENT.get(current)
    return frozenset(closed)


def _possible(words: Sequence[str]) -> list[frozenset[str]]:
    """Every set of the words that can hold of one individual: upwards closed, at most one of each exclusive group."""
    found: list[frozenset[str]] = [frozenset()]
    for word in sorted(words, key=lambda w: len(_closed([w]))):  # the general ones first
        parent = PARENT.get(word)
        found += [
            holds | {word}
            for holds in found
            if (parent is None or parent in holds)
            and all(word not in group or not holds.intersection(group) for group in EXCLUSIVE)
        ]
    return found


def _masks() -> tuple[int, dict[str, int]]:
    """All types as one set of bits, and for each word the set of the types that it holds of."""
    types = [n | v | a for n, v, a in product(_possible(NOUNS), _possible(VERBS), _possible(ADJECTIVES))]
    holds = {word: sum(1 << i for i, t in enumerate(types) if word in t) for word in (*NOUNS, *VERBS, *ADJECTIVES)}
    return (1 << len(types)) - 1, holds


_ALL, _HOLDS = _masks()


def consistent(statements: Iterable[tuple[Statement, bool]]) -> bool:
    """Whether statements can be true together, each (statement, True) or denied (statement, False)."""
    allowed, witnesses = _ALL, []
    for statement, true in statements:
        subject = _HOLDS[statement.noun] & (_ALL if statement.adjective is None else _HOLDS[statement.adjective])
        verb = _HOLDS[statement.verb]
        # "Every" forbids, and "not every" has, one who does not; "no" forbids, and "some" has, one who does.
        those = subject & (verb if statement.quantifier in ("some", "no") else ~verb)
        if (statement.quantifier in ("every", "no")) == true:
            allowed &= ~those
        else:
            witnesses.append(those)
        witnesses.append(subject)
    return all(allowed & witness for witness in witnesses)


def meaning(premises: Sequence[Statement], hypothesis: Statement) -> Label | None:
    """What the premises say about the hypothesis; None where the premises cannot be true together."""
    given = [(premise, True) for premise in premises]
    can_hold, can_fail = consistent([*given, (hypothesis, True)]), consistent([*given, (hypothesis, False)])
    if not (can_hold or can_fail):
        return None
    return "neutral" if can_hold and can_fail else "entailment" if can_hold else "contradiction"


def mini_nli(
    train: int = 3000,
    validation: int = 300,
    test: int = 600,
    seed: int = 0,
    premises: tuple[int, int] = (1, 2),
    test_premises: tuple[int, int] = (2, 3),
) -> Rows:
    """Rows `text` (premise and hypothesis), `label`, `premise`, `hypothesis`, `statements` and `split`.

    Every hypothesis comes three times, once with each label, and all three in one part: by the hypothesis alone
    nobody can be right more often than once in three. The test's premises are longer.

    Args:
        train, validation, test: how many rows at least; a multiple of three is made.
        seed: of all of them.
        premises, test_premises: how many statements a premise has, from and to.
    """
    random = np.random.default_rng(seed)
    seen: set[str] = set()
    wanted = {"train": (train, premises), "validation": (validation, premises), "test": (test, test_premises)}
    parts = {part: _triples(-(-count // 3), sizes, random, seen) for part, (count, sizes) in wanted.items()}
    return gathered("mini-nli", parts, seed)


def _triples(count: int, sizes: tuple[int, int], random: np.random.Generator, seen: set[str]) -> list[Example]:
    examples: list[Example] = []
    while len(examples) < 3 * count:
        hypothesis = _statement(NOUNS, VERBS, random)
        found = _premises(hypothesis, sizes, random)
        texts = {label: " ".join(f"{sentence(str(s))}." for s in found[label]) for label in found}
        if len(found) < 3 or any(f"{text}|{hypothesis}" in seen for text in texts.values()):
            continue
        for label in LABELS:
            seen.add(f"{texts[label]}|{hypothesis}")
            said = f"{sentence(str(hypothesis))}."
            examples.append(
                {
                    "text": f"{texts[label]} So: {said}",
                    "label": label,
                    "premise": texts[label],
                    "hypothesis": said,
                    "statements": len(found[label]),
                }
            )
    return examples


def _premises(
    hypothesis: Statement, sizes: tuple[int, int], random: np.random.Generator
) -> dict[Label, list[Statement]]:
    """A premise for each label, as far as they are found: statements about words near the hypothesis's."""
    nouns, verbs = _near(hypothesis.noun, NOUNS), _near(hypothesis.verb, VERBS)
    size = int(random.integers(sizes[0], sizes[1] + 1))
    found: dict[Label, list[Statement]] = {}
    for _ in range(_MANY_TRIES):
        adjectives = (None, hypothesis.adjective, pick(ADJECTIVES, random))
        candidate = [_statement(nouns, verbs, random, adjectives) for _ in range(size)]
        if hypothesis in candidate or len(set(candidate)) < size:
            continue
        label = meaning(candidate, hypothesis)
        if label is not None and label not in found:
            found[label] = candidate
            if len(found) == 3:
                break
    return found


def _near(word: str, words: Sequence[str]) -> list[str]:
    """The words above and below `word`, itself, and one kind that excludes it."""
    related = [other for other in words if word in _closed([other]) or other in _closed([word])]
    rivals = [other for group in EXCLUSIVE if word in group for other in group if other != word and other in words]
    return related + rivals[:1]


def _statement(
    nouns: Sequence[str],
    verbs: Sequence[str],
    random: np.random.Generator,
    adjectives: Sequence[str | None] = (None, None, *ADJECTIVES),
) -> Statement:
    return Statement(pick(QUANTIFIERS, random), pick(adjectives, random), pick(nouns, random), pick(verbs, random))
