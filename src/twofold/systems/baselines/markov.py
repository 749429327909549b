"""markov: what came next most often after the last item. Rendle et al. 2010, https://doi.org/10.1145/1772690.1772773"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from twofold.catalog import Budget, baseline
from twofold.parts.recommenders import ItemNeighbours
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.recommend import RecommendData, RecommendModel


@baseline(
    "markov",
    title="Factorizing Personalized Markov Chains for Next-Basket Recommendation",
    tasks=("recommend",),
    source="https://doi.org/10.1145/1772690.1772773",
    needs=("what follows what", "first-order Markov chain of items"),
)
class Markov(ModelSystem):
    """Counts of what followed the last item; between equal counts the more popular item comes first."""

    followers: int = Field(200, ge=1, le=10000, description="items that are kept as followers of each")

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
        before = np.array([item for history in known for item in history[:-1]], np.int64)
        after = np.array([item for history in known for item in history[1:]], np.int64)
        size = len(data.items)
        pairs, counts = np.unique(before * size + after, return_counts=True)
        rows, columns = np.divmod(pairs, size)
        values = counts + 0.5 * data.counts[columns] / max(1, data.counts.max())
        net = ItemNeighbours.of(rows, columns, values, size, self.followers, last=1)
        model = RecommendModel(net.eval(), None, {"items": list(data.items)})
        return Fitted(model.remember(self.id, self.options()))
