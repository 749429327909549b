"""most-popular: recommends to everybody what was taken most often."""

from __future__ import annotations

from pathlib import Path

import torch

from twofold.catalog import Budget, baseline
from twofold.parts.recommenders import Popular
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.recommend import RecommendData, RecommendModel


@baseline(
    "most-popular",
    title="The most popular items",
    tasks=("recommend",),
    needs=("what any recommender must beat", "popularity baseline"),
)
class MostPopular(ModelSystem):
    """The items that were taken most often, for everybody."""

    def fit(
        self,
        data: RecommendData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        net = Popular(len(data.items))
        net.counts.copy_(torch.from_numpy(data.counts))
        model = RecommendModel(net.eval(), None, {"items": list(data.items)})
        return Fitted(model.remember(self.id, self.options()))
