"""gaussian-search: a Gaussian process and expected improvement over designs. Jones et al. 1998, https://doi.org/10.1023/A:1008306431147."""

from __future__ import annotations

from typing import ClassVar

from twofold.catalog import baseline
from twofold.tasks.designs import DesignSearch, ExpectedImprovement, Proposer
from twofold.tasks.designs.proposers import Floats


@baseline(
    "gaussian-search",
    title="Bayesian optimisation over designs",
    tasks=("represent",),
    needs=("Bayesian optimisation of a network's architecture",),
)
class GaussianSearch(DesignSearch):
    """Encoder of the best design that a Gaussian process and expected improvement find."""

    by_name: ClassVar[bool] = True

    def proposer(self, points: Floats, seed: int) -> Proposer:
        return ExpectedImprovement(points, seed)
