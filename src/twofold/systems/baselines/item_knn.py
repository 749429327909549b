"""item-knn: items that the same people took as those in a history.

Sarwar et al. 2001, "Item-based Collaborative Filtering Recommendation Algorithms", https://doi.org/10.1145/371920.372071
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, diags

from twofold.catalog import Budget, baseline
from twofold.parts.recommenders import ItemNeighbours
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.recommend import RecommendData, RecommendModel


@baseline(
    "item-knn",
    title="Item-based Collaborative Filtering Recommendation Algorithms",
    tasks=("recommend",),
    source="https://doi.org/10.1145/371920.372071",
    needs=("people who took this also took", "recommend without training a network"),
)
class ItemKnn(ModelSystem):
    """Sums over a history of the cosine between items, each one the users that took it."""

    neighbours: int = Field(100, ge=1, le=10000, description="nearest items that each item votes for")
    shrink: float = Field(10.0, ge=0, description="added to the cosine's denominator, so that rare items count less")
    last: int | None = Field(20, ge=1, description="so many of a user's last items vote; none: all")

    def fit(
        self,
        data: RecommendData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        known = data.known("train")
        users = np.repeat(np.arange(len(known)), [len(history) for history in known])
        items = np.array([item for history in known for item in history], dtype=np.int64)
        taken = csr_matrix((np.ones(len(items), np.float32), (users, items)), shape=(len(known), len(data.items)))
        taken.data[:] = 1  # taken more than once counts once
        together = (taken.T @ taken).tocsr()
        sizes = np.sqrt(np.asarray(taken.sum(0)).ravel())
        net = nearest(together, sizes, self.shrink, self.neighbours, self.last)
        model = RecommendModel(net.eval(), None, {"items": list(data.items)})
        return Fitted(model.remember(self.id, self.options()))


def nearest(together: csr_matrix, sizes: np.ndarray, shrink: float, count: int, last: int | None) -> ItemNeighbours:
    """Each item's nearest others by `together / (size · size + shrink)`.

    Args:
        together: how often two items go together, `[items, items]`.
        sizes: of each item; the product of two is what `together` can be at most.
    """
    items = together.shape[0]
    others = (together - diags(together.diagonal())).tocsr()
    others.eliminate_zeros()
    rows = np.repeat(np.arange(items), np.diff(others.indptr))
    values = others.data / (sizes[rows] * sizes[others.indices] + shrink)
    return ItemNeighbours.of(rows, others.indices, values, items, min(count, max(1, items - 1)), last)
