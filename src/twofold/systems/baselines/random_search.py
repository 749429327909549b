"""random-search: designs drawn at random, the other side of every search."""

from __future__ import annotations

from typing import ClassVar

from twofold.catalog import baseline
from twofold.tasks.designs import AtRandom, DesignSearch, Proposer
from twofold.tasks.designs.proposers import Floats


@baseline(
    "random-search", title="Random search over designs", tasks=("represent",), needs=("try random architectures",)
)
class RandomSearch(DesignSearch):
    """Encoder of the best of designs that are drawn at random."""

    by_name: ClassVar[bool] = True

    def proposer(self, points: Floats, seed: int) -> Proposer:
        return AtRandom(points, seed)
