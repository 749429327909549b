"""Natural-parameter networks: every weight and every state has a mean and a variance.

Wang et al. 2016, "Natural-Parameter Networks", https://arxiv.org/abs/1611.00448 (Gaussian weights, section 3)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts.arguments import at_least_one
from twofold.parts.init import normal
from twofold.parts.part import Part

Values = Float[Tensor, "*batch dim"]

# So that Φ(ξx) meets the sigmoid, and σ(α(x + β)) its square.
_PROBIT = math.pi / 8
_ALPHA = 4 - 2 * math.sqrt(2)
_BETA = -math.log(math.sqrt(2) + 1)


class NaturalLinear(Part):
    """A linear map with Gaussian weights: the mean and variance of its output, inputs being independent Gaussians.

    `mean = W a + b` and `variance = (S + W²) c + S a² + s` for inputs of mean a and variance c, weights of mean W and
    variance S (equations 1 and 2).

    Args:
        dim: width that goes in.
        out: width that comes out.
        start: variance of the weights at the start, as a share of the means' own.
    """

    def __init__(self, dim: int, out: int, start: float = 0.1) -> None:
        super().__init__()
        at_least_one("NaturalLinear", dim=dim, out=out)
        self.weight = nn.Parameter(torch.empty(out, dim))
        normal(self.weight, dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(out))
        self.log_weight = nn.Parameter(torch.full((out, dim), math.log(start / dim)))
        self.log_bias = nn.Parameter(torch.full((out,), math.log(start / dim)))

    def forward(self, mean: Values, variance: Values) -> tuple[Tensor, Tensor]:
        spread = self.log_weight.exp()
        out = F.linear(mean, self.weight, self.bias)
        shaken = F.linear(variance, spread + self.weight.square()) + F.linear(mean.square(), spread)
        return out, shaken + self.log_bias.exp()


def natural_sigmoid(mean: Values, variance: Values) -> tuple[Tensor, Tensor]:
    """Mean and variance of the sigmoid of Gaussians (equations 4 and 5, within 0.03)."""
    first = torch.sigmoid(mean / (1 + _PROBIT * variance).sqrt())
    second = torch.sigmoid(_ALPHA * (mean + _BETA) / (1 + _PROBIT * _ALPHA**2 * variance).sqrt())
    return first, (second - first.square()).clamp_min(1e-8)


class NaturalNetwork(Part):
    """Linear, sigmoid, linear, of natural parameters: from `[..., dim]` to the mean and variance of one number.

    Args:
        dim: width that goes in.
        hidden: units between.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = NaturalLinear(dim, hidden), NaturalLinear(hidden, 1)

    def forward(self, x: Values) -> tuple[Tensor, Tensor]:
        mean, variance = natural_sigmoid(*self.up(x, torch.zeros_like(x)))
        # Halves are taken off so that the output starts around zero.
        out, spread = self.down(mean - 0.5, variance)
        return out[..., 0], spread[..., 0]


class Surrogate(Part):
    """What a design is worth before it is trained: expected value, noise in the data, and what is not known yet.

    Tuli et al. 2022 (BOSHNAS), section 3.3, https://arxiv.org/abs/2205.11656: f, a natural-parameter network, gives the
    mean and the data's variance; g, a network with dropout, differs from pass to pass where it knows little; h, smooth,
    learns how much.

    Args:
        dim: of the points.
        hidden: units of each hidden layer.
        dropout: of the teacher.
    """

    def __init__(self, dim: int, hidden: int = 32, dropout: float = 0.2) -> None:
        super().__init__()
        self.value = NaturalNetwork(dim, hidden)
        self.teacher = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )
        self.student = nn.Sequential(
            nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1), nn.Softplus()
        )

    def forward(self, x: Values) -> tuple[Tensor, Tensor, Tensor]:
        """Mean μ, standard deviation of the data σ, and of the model ξ: `[...]` each."""
        mean, variance = self.value(x)
        return mean, variance.sqrt(), self.student(x)[..., 0]

    def doubt(self, x: Values, passes: int = 16) -> Tensor:
        """The standard deviation of the teacher's answers over passes with dropout: what the student learns."""
        self.teacher.train()
        with torch.no_grad():
            return self.teacher(x.expand(passes, *x.shape))[..., 0].std(0)
