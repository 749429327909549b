"""evolution-search: regularised evolution over designs. Real et al. 2019, https://arxiv.org/abs/1802.01548."""

from __future__ import annotations

from typing import ClassVar

from twofold.catalog import baseline
from twofold.tasks.designs import DesignSearch, Evolution, Proposer
from twofold.tasks.designs.proposers import Floats


@baseline(
    "evolution-search",
    title="Regularised evolution over designs",
    tasks=("represent",),
    needs=("evolutionary architecture search",),
)
class EvolutionSearch(DesignSearch):
    """Encoder of the best design of a regularised evolution."""

    by_name: ClassVar[bool] = True

    def proposer(self, points: Floats, seed: int) -> Proposer:
        return Evolution(points, seed)
