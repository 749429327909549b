"""Who says which design is trained next: at random, by changing good ones, by a model of what was seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Proposer(ABC):
    """Proposes designs of a pool, by number.

    Args:
        points: `[n, d]`, one for each design; those that are near are alike.
        seed: of all its choices.
    """

    def __init__(self, points: Floats, seed: int) -> None:
        self.points = points
        self.rng = np.random.default_rng(seed)

    @abstractmethod
    def ask(self, tried: Sequence[int], losses: Sequence[float]) -> int:
        """The number of a design that was not tried.

        Args:
            tried: numbers of those that were, in order.
            losses: what each came to; less is better.
        """

    def untried(self, tried: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the others."""
        return np.setdiff1d(np.arange(len(self.points)), np.asarray(tried, dtype=np.int64))

    def nearest(self, point: Floats, among: NDArray[np.int64]) -> int:
        """The one of `among` whose point is nearest."""
        return int(among[((self.points[among] - point) ** 2).sum(1).argmin()])


class AtRandom(Proposer):
    """Any of the others."""

    def ask(self, tried: Sequence[int], losses: Sequence[float]) -> int:
        return int(self.rng.choice(self.untried(tried)))


class Evolution(Proposer):
    """Regularised evolution: the best of a few of the latest designs is changed a little.

    Real et al. 2019, https://arxiv.org/abs/1802.01548; a change is a step to one of the nearest designs.

    Args:
        points, seed: as `Proposer` has them.
        alive: the latest so many may have children.
        rivals: so many of these are drawn, and the best of them is the parent.
        near: so many untried neighbours may be the child.
    """

    def __init__(self, points: Floats, seed: int, alive: int = 10, rivals: int = 3, near: int = 5) -> None:
        super().__init__(points, seed)
        self.alive, self.rivals, self.near = alive, rivals, near

    def ask(self, tried: Sequence[int], losses: Sequence[float]) -> int:
        drawn = self.rng.permutation(np.arange(len(tried))[-self.alive :])[: self.rivals]
        parent = tried[min(drawn, key=lambda i: losses[i])]
        left = self.untried(tried)
        far = ((self.points[left] - self.points[parent]) ** 2).sum(1)
        return int(self.rng.choice(left[np.argsort(far, kind="stable")[: self.near]]))


class ExpectedImprovement(Proposer):
    """A Gaussian process with a Matérn kernel (5/2); the design that should improve most on the best so far.

    Jones et al. 1998, https://doi.org/10.1023/A:1008306431147
    """

    def ask(self, tried: Sequence[int], losses: Sequence[float]) -> int:
        import warnings

        from scipy.stats import norm
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import Matern, WhiteKernel

        kernel = Matern(nu=2.5, length_scale_bounds=(0.05, 50.0)) + WhiteKernel(0.1, (1e-4, 1.0))
        fitted = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        left = self.untried(tried)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted.fit(self.points[list(tried)], -np.asarray(losses))
        mean, spread = fitted.predict(self.points[left], return_std=True)
        gain = mean - (-min(losses))
        z = gain / np.maximum(spread, 1e-9)
        return int(left[np.argmax(gain * norm.cdf(z) + spread * norm.pdf(z))])
