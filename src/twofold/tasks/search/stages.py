"""Search in stages: a cheap look at every document, then dearer looks at the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from twofold.errors import UserError
from twofold.tasks.search.index import Asked, ExactIndex, Found, Index
from twofold.tasks.search.vectors import Dense

if TYPE_CHECKING:
    from twofold.tasks.search.model import EncoderModel, SearchModel

Plan = Sequence[tuple[int, int | None]]
"""Widths, each with the number of documents that are compared at it: all (None), then the best so many."""


class Scorer(Protocol):
    """Scores some of an index's documents for each query."""

    @property
    def nbytes(self) -> int: ...
    @property
    def per_pair(self) -> int | None: ...
    def among(self, queries: Sequence[str], positions: np.ndarray) -> np.ndarray: ...


class PairScorer:
    """Any search model as a scorer of (query, document) pairs, a cross-encoder for example.

    Args:
        documents: texts, in the order of the index.
    """

    nbytes, per_pair = 0, None

    def __init__(self, model: SearchModel, documents: Sequence[str]) -> None:
        self.model, self.documents = model, documents

    def among(self, queries: Sequence[str], positions: np.ndarray) -> np.ndarray:
        """The scores of some documents of each query, `[queries, candidates]` as their positions."""
        asked = [query for query, row in zip(queries, positions, strict=True) for _ in row]
        scores = self.model.pair_scores(asked, [self.documents[d] for d in positions.flat])
        return np.asarray(scores, dtype=np.float32).reshape(positions.shape)


@dataclass(frozen=True)
class Stage:
    """A further look at the best `count` documents so far; the others keep their places behind them.

    Attributes:
        stable: equal scores keep the order that the documents had, instead of the index's.
    """

    scorer: Scorer
    count: int
    stable: bool = False


class StagedIndex:
    """An index whose first answers are put in order again by one stage after another.

    Scores of documents that met different stages are on different scales; the order is what counts.

    Args:
        first: finds the first candidates; it is saved and opened as what it is.
        stages: in order; each looks at no more documents than the one before it.

    Raises:
        UserError: a stage that looks at none, or at more than the one before.
    """

    def __init__(self, first: Index, stages: Sequence[Stage]) -> None:
        counts = [stage.count for stage in stages]
        if any(count < 1 for count in counts) or counts != sorted(counts, reverse=True):
            raise UserError(f"stages look at {counts} documents; give numbers above 0 that do not rise")
        self.first, self.stages = first, tuple(stages)

    def __len__(self) -> int:
        return len(self.first)

    @property
    def nbytes(self) -> int:
        """Of the first index, and of what scorers keep beside it."""
        return self.first.nbytes + sum(stage.scorer.nbytes for stage in self.stages)

    @property
    def multiplications(self) -> int | None:
        """For one query, over all stages; None where one of them cannot tell."""
        first = getattr(self.first, "multiplications", None)
        pairs = [stage.scorer.per_pair for stage in self.stages]
        if first is None or None in pairs:
            return None
        counts = [min(stage.count, len(self)) for stage in self.stages]
        return int(first) + sum(count * (pair or 0) for count, pair in zip(counts, pairs, strict=True))

    def search(self, queries: Sequence[str], k: int) -> Found:
        """The best `k` documents of each query, as the last stage that looked at them says."""
        asked = Asked.of(queries)
        found = self.first.search(asked, max([k, *(stage.count for stage in self.stages)]))
        positions, scores = found.positions.copy(), found.scores.copy()
        for stage in self.stages:
            # In the index's order, so that equal scores are ranked by index, as exact search ranks them.
            some = positions[:, : stage.count]
            some = some if stage.stable else np.sort(some, axis=1)
            new = stage.scorer.among(asked, some)
            order = np.argsort(-new, axis=1, kind="stable")
            positions[:, : stage.count] = np.take_along_axis(some, order, 1)
            scores[:, : stage.count] = np.take_along_axis(new, order, 1)
        return Found(positions[:, :k], scores[:, :k])

    def save(self, folder: Path) -> None:
        """Writes the first index; whoever opens it knows the stages."""
        self.first.save(folder)


def by_width(model: EncoderModel, vectors: Dense, plan: Plan) -> ExactIndex | StagedIndex:
    """An index that compares prefixes of vectors, wider ones for fewer documents.

    Args:
        plan: its first width is compared with all documents. One width alone is exact search at that width.

    Raises:
        UserError: a width that the vectors have not, or numbers of documents that rise.
    """
    whole = vectors.values.shape[-1]
    (width, _), *rest = plan
    first = ExactIndex(model, vectors, None if width == whole else width)
    stages = [Stage(_Shared(model, vectors, None if w == whole else w), count or len(vectors)) for w, count in rest]
    return StagedIndex(first, stages) if stages else first


class _Shared(ExactIndex):
    """Compares vectors that another index holds already: only the lengths of their prefixes are its own."""

    @property
    def nbytes(self) -> int:
        return super().nbytes - self.vectors.nbytes


def exact(narrow: int, whole: int, shortlist: int) -> Plan:
    """Whole vectors against all documents."""
    return ((whole, None),)


def adaptive(narrow: int, whole: int, shortlist: int) -> Plan:
    """Adaptive retrieval: `narrow` coordinates find the shortlist, whole vectors put it in order.

    Kusupati et al. 2022, https://arxiv.org/abs/2205.13147, section 4.3.
    """
    return ((narrow, None), (whole, shortlist)) if narrow < whole else exact(narrow, whole, shortlist)


def funnel(narrow: int, whole: int, shortlist: int) -> Plan:
    """Funnel retrieval: the width doubles while the shortlist halves; whole vectors order the last (10 or more).

    Kusupati et al. 2022, https://arxiv.org/abs/2205.13147, section 4.3.1: with 16 of 2,048 and a shortlist of 200,
    widths 32, 64, 128, 256 and 2,048 look at the best 200, 100, 50, 25 and 10.
    """
    steps: list[tuple[int, int | None]] = [(narrow, None)]
    width, count = 2 * narrow, shortlist
    while width < whole and count > _LAST:
        steps.append((width, count))
        width, count = 2 * width, count // 2 if count >= 4 * _LAST else _LAST
    return (*steps, (whole, count)) if narrow < whole else exact(narrow, whole, shortlist)


_LAST = 10

LOOKUPS: Mapping[str, Callable[[int, int, int], Plan]] = {"exact": exact, "adaptive": adaptive, "funnel": funnel}
"""Ways to search by width, by name: (narrow width, whole width, shortlist) to a plan."""
