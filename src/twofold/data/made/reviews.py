"""Short reviews, positive or negative: aspects of a product are praised or blamed, negation turns a word around.

The label is computed: each clause counts +1 or -1, the word's own sign times -1 for every negation, and a review is
what the sum of its clauses says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twofold.data.made.labelled import Example, dealt, gathered, pick, sentence, some
from twofold.data.rows import Rows

LABELS = ("positive", "negative")
POSITIVE = tuple(
    """
    excellent lovely reliable superb pleasant clever sturdy delightful comfortable brilliant fresh perfect useful
    elegant friendly quick clean generous
    """.split()  # noqa: SIM905
)
NEGATIVE = tuple(
    """
    awful ugly fragile terrible annoying stupid shaky disappointing painful dreadful stale faulty useless clumsy rude
    slow dirty mean
    """.split()  # noqa: SIM905
)
PRODUCTS = ("kettle", "hotel", "novel", "phone", "restaurant", "lamp", "film", "backpack", "concert", "camera")
ASPECTS = ("look", "price", "quality", "service", "idea", "handling", "start", "finish")
PLAIN = ("the {a} is {w}", "I find the {a} {w}", "{w} {a}", "really {w} {a}", "as for the {a}: {w}")
NEGATED = ("the {a} is not {w}", "I would not call the {a} {w}", "no {w} {a} here", "the {a} is never {w}")
OPENINGS = (
    "Bought the {p} in spring:",
    "About this {p}:",
    "Our verdict on the {p}:",
    "Tried the {p} twice.",
    "{p}, again.",
)


@dataclass(frozen=True)
class Clause:
    """One opinion: an aspect, the word used for it, and whether it is negated."""

    aspect: str
    word: str
    negated: bool

    @property
    def sign(self) -> int:
        """+1 or -1."""
        return (1 if self.word in POSITIVE else -1) * (-1 if self.negated else 1)


def verdict(clauses: list[Clause]) -> str:
    """The label: the sign of the clauses' sum, which must not be zero."""
    return LABELS[0] if sum(clause.sign for clause in clauses) > 0 else LABELS[1]


def reviews(train: int = 1200, validation: int = 200, test: int = 800, negated: float = 0.2, seed: int = 0) -> Rows:
    """Rows `text`, `label` (positive, negative), `clauses` (one or three) and `split`; both labels equally often.

    Args:
        train, validation, test: how many rows.
        negated: share of the clauses that are negated.
        seed: of all of them.
    """
    random = np.random.default_rng(seed)
    counts = {"train": train, "validation": validation, "test": test}
    return gathered(
        "reviews", {p: [_review(k, negated, random) for k in dealt(LABELS, n, random)] for p, n in counts.items()}, seed
    )


def _review(label: str, negated: float, random: np.random.Generator) -> Example:
    while True:
        aspects = some(ASPECTS, pick((1, 3), random), random)
        clauses = [Clause(a, pick((*POSITIVE, *NEGATIVE), random), bool(random.random() < negated)) for a in aspects]
        if verdict(clauses) == label:
            break
    said = [pick(NEGATED if c.negated else PLAIN, random).format(a=c.aspect, w=c.word) for c in clauses]
    opening = pick(OPENINGS, random).format(p=pick(PRODUCTS, random))
    return {"text": sentence(f"{opening} {', '.join(said)}."), "label": label, "clauses": len(clauses)}
