"""Normalisation over the features of each position."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts import kernels
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part


class LayerNorm(Part):
    """Zero mean and unit variance, then a gain and (where `bias`) an offset. Ba et al. 2016, https://arxiv.org/abs/1607.06450"""

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        at_least_one("LayerNorm", dim=dim)
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return F.layer_norm(x, (self.dim,), self.weight, self.bias, self.eps)


class RMSNorm(Part):
    """Unit root mean square, then a gain: no mean, no offset. Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467"""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        at_least_one("RMSNorm", dim=dim)
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if kernels.worth(x, self.weight):
            return kernels.rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, (self.dim,), self.weight, self.eps)


class NoNorm(Part):
    """Leaves the states as they are, where a norm could stand."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x


NORMS: dict[str, Callable[..., Part]] = {"layer": LayerNorm, "rms": RMSNorm}
"""Norms by the name that presets and patterns use."""
