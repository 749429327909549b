"""How wide vectors must be so that a random projection keeps documents in order. Luan et al. 2021, sections 2 and 3."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from twofold.data import Rows
from twofold.errors import UserError
from twofold.tasks import Plot, Report, Table
from twofold.tasks.search import SearchData, from_rows
from twofold.tasks.search.lexical import hard_negatives, words

LENGTHS = (16, 32, 64, 128, 256, 512, 1024)
_BINS = 5
_MOST = 2000  # triples of a person's data that are looked at


def margin(query: ArrayLike, better: ArrayLike, worse: ArrayLike) -> float:
    """ε = ⟨q, d₁ − d₂⟩ / (‖q‖ · ‖d₁ − d₂‖), definition 1."""
    q, difference = np.asarray(query, float), np.asarray(better, float) - np.asarray(worse, float)
    return float(q @ difference / (np.linalg.norm(q) * np.linalg.norm(difference)))


def bound(width: ArrayLike, epsilon: ArrayLike) -> NDArray[np.float64]:
    """How often a projection to `width` may reverse the order at most: 4 · exp(−k/2 · (ε²/2 − ε³/3)), lemma 1."""
    e = np.asarray(epsilon, float)
    value: NDArray[np.float64] = 4 * np.exp(-np.asarray(width, float) / 2 * (e**2 / 2 - e**3 / 3))
    return value


def bound_width(epsilon: float, error: float) -> int:
    """The width at which the bound reaches `error`: 2 (ε²/2 − ε³/3)⁻¹ ln(4/β), corollary 1."""
    return int(np.ceil(2 / (epsilon**2 / 2 - epsilon**3 / 3) * np.log(4 / error)))


def failure(width: ArrayLike, epsilon: ArrayLike) -> NDArray[np.float64]:
    """How often a Gaussian projection to `width` reverses the order, exactly.

    With g = Aq/‖q‖ and A(d₁ − d₂)/‖d₁ − d₂‖ = ε g + √(1 − ε²) z, both of k independent normals, the projected product
    is ε‖g‖² + √(1 − ε²)‖g‖ n with n normal. It is negative where n √k / ‖g‖ < −ε √(k / (1 − ε²)), and the left side
    has Student's distribution with k degrees of freedom.
    """
    k, e = np.asarray(width, float), np.asarray(epsilon, float)
    value: NDArray[np.float64] = student.cdf(-e * np.sqrt(k / (1 - e**2)), k)
    return value


def width_needed(epsilon: float, error: float) -> int:
    """The smallest width at which the order is reversed at most so often."""
    low, high = 1, 2
    while failure(high, epsilon) > error:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if failure(middle, epsilon) <= error else (middle + 1, high)
    return low


def made_margin(length: int, named: int = 4) -> float:
    """The margin of boolean documents of `length` words that share nothing but a query's words.

    The better one holds all `named` words of the query, the worse one all but one.
    """
    return 1 / np.sqrt(named * (2 * length - 2 * (named - 1)))


def study(rows: Rows | None, error: float, seed: int) -> Report:
    """The margin and the width needed against the length of documents: made ones, and a person's."""
    made = [(length, made_margin(length)) for length in LENGTHS]
    table = [(n, e, width_needed(e, error), bound_width(e, error)) for n, e in made]
    slope = np.polyfit(np.log([n for n, *_ in table]), np.log([k for *_, k, _ in table]), 1)[0]
    figures = {"slope": float(slope), "widest_of_bound": max(k / most for *_, k, most in table)}
    lines = {
        "needed": tuple((float(n), float(k)) for n, _, k, _ in table),
        "bound": tuple((float(n), float(most)) for n, *_, most in table),
    }
    columns = ("words", "margin", "width needed", "width by the bound")
    tables = [Table("Boolean documents that differ in one of four words", columns, tuple(table))]
    if rows is not None:
        own = _margins(from_rows(rows), seed)
        found = []
        for some in np.array_split(own[np.argsort(own[:, 0], kind="stable")], min(_BINS, len(own))):
            e = float(np.median(some[:, 1]))
            found.append((int(np.median(some[:, 0])), e, width_needed(e, error), bound_width(e, error)))
        tables.append(Table("Your documents: medians over those of like length", columns, tuple(found)))
        lines["your documents"] = tuple((float(n), float(k)) for n, _, k, _ in found)
        figures |= {"margin": float(np.median(own[:, 1])), "triples": float(len(own))}
    text = (
        f"A random projection puts {error:.0%} of the pairs in the wrong order at the widths given as needed. "
        f"Over made documents the width grows with the length to the power {slope:.2f}."
    )
    return Report(figures, tuple(tables), (Plot("Width and length", "words", "width", lines),), text)


def _margins(data: SearchData, seed: int) -> NDArray[np.float64]:
    """Length of the answer and margin, where it is above 0, of (query, answer, what looks like one) by their words."""
    negatives = hard_negatives(data, 1)
    found = []
    for query in np.random.default_rng(seed).permutation(sorted(negatives))[:_MOST].tolist():
        asked, right = set(words(data.queries[query])), set(words(data.documents[min(data.relevant[query])]))
        wrong = set(words(data.documents[int(negatives[query][0])])) if len(negatives[query]) else set()
        difference = len(asked & right) - len(asked & wrong)
        if wrong and difference > 0:
            found.append((len(right), difference / np.sqrt(len(asked) * len(right ^ wrong))))
    if not found:
        raise UserError(f"{data.name}: words tell no answer from another document; the study has nothing to measure")
    return np.array(found, dtype=np.float64)
