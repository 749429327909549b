"""BOSHNAS: Bayesian optimisation with second-order gradients and a surrogate that knows two kinds of uncertainty.

Tuli et al. 2022, "FlexiBERT", section 3.3 and algorithm 1, https://arxiv.org/abs/2205.11656
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twofold.parts import Surrogate
from twofold.tasks.designs.proposers import Floats, Proposer
from twofold.training.second_order import Ascent, ascend

_FIRST, _LATER = 150, 15  # steps of fitting: at the first question, and at each one after
_STARTS, _CLIMB = 8, 12


class Boshnas(Proposer):
    """Climbs an upper confidence bound, μ + k₁ σ + k₂ ξ, from several designs; proposes the nearest that is untried.

    Args:
        points, seed: as `Proposer` has them.
        data_weight: k₁, of the noise in the data.
        model_weight: k₂, of what the model does not know.
        uncertain: how often the design with the largest k₁ σ + k₂ ξ is proposed instead.
        diverse: how often any design is.
        climb: how the bound is climbed.
    """

    def __init__(
        self,
        points: Floats,
        seed: int,
        data_weight: float = 0.5,
        model_weight: float = 0.5,
        uncertain: float = 0.1,
        diverse: float = 0.1,
        climb: Ascent = ascend,
    ) -> None:
        super().__init__(points, seed)
        self.data_weight, self.model_weight = data_weight, model_weight
        self.uncertain, self.diverse, self.climb = uncertain, diverse, climb
        spread = points.std() or 1.0
        self.x = torch.tensor(points / spread, dtype=torch.float32)
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.surrogate = Surrogate(points.shape[1])
            self.noise = torch.get_rng_state()
        parts = (self.surrogate.value, self.surrogate.teacher, self.surrogate.student)
        self.optimizers = [
            torch.optim.AdamW(part.parameters(), lr=1e-2, weight_decay=1e-2, fused=True) for part in parts
        ]
        self.fitted = 0

    def ask(self, tried: Sequence[int], losses: Sequence[float]) -> int:
        left = self.untried(tried)
        chance = self.rng.random()
        if chance < self.diverse:
            return int(self.rng.choice(left))
        self.fit(tried, losses)
        if chance < self.diverse + self.uncertain:
            with torch.no_grad():
                unsure = self._bound(self.x[left], 0.0)
            return int(left[int(unsure.argmax())])
        return self.climbed(tried, losses, left)

    def climbed(self, tried: Sequence[int], losses: Sequence[float], left: np.ndarray) -> int:
        """The untried design nearest to where the bound is highest, of several climbs: half of them from the best."""
        best = np.asarray(tried)[np.argsort(losses, kind="stable")[: _STARTS // 2]]
        others = self.rng.choice(left, min(len(left), _STARTS - len(best)), replace=False)
        start = self.x[np.concatenate([best, others])]
        self.surrogate.requires_grad_(False)
        low, high = self.x.min(0).values, self.x.max(0).values
        ends = self.climb(lambda x: self._bound(x, 1.0), start, low, high, _CLIMB, self.generator)
        with torch.no_grad():
            top = ends[int(self._bound(ends, 1.0).argmax())]
        self.surrogate.requires_grad_(True)
        far = (self.x[left] - top).square().sum(1)
        return int(left[int(far.argmin())])

    def _bound(self, x: Tensor, mean_weight: float) -> Tensor:
        mean, data, model = self.surrogate(x)
        bound: Tensor = mean_weight * mean + self.data_weight * data + self.model_weight * model
        return bound

    def fit(self, tried: Sequence[int], losses: Sequence[float]) -> None:
        """Goes on fitting the three networks to what was seen: values of mean 0 and deviation 1, more is better."""
        x = self.x[list(tried)]
        seen = -torch.tensor(losses, dtype=torch.float32)
        y = (seen - seen.mean()) / seen.std().clamp_min(1e-6)
        value, teacher, student = self.optimizers
        steps = _LATER if self.fitted else _FIRST
        self.fitted += 1

        def explained() -> Tensor:
            mean, variance = self.surrogate.value(x)
            return F.gaussian_nll_loss(mean, y, variance, eps=1e-3)

        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.noise)
            _steps(value, explained, steps)
            self.surrogate.teacher.train()
            _steps(teacher, lambda: F.mse_loss(self.surrogate.teacher(x)[:, 0], y), steps)
            doubt = self.surrogate.doubt(self.x)  # over the whole pool, where the student will be asked
            _steps(student, lambda: F.mse_loss(self.surrogate.student(self.x)[:, 0], doubt), steps)
            self.noise = torch.get_rng_state()


def _steps(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
