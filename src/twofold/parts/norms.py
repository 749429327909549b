"""Normalisation over the features of each position."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts import kernels
from twofold.parts.arguments import at_least_one
from twofold.parts.fused import fused_pass
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


def rms_norm(x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float) -> Float[Tensor, "*batch dim"]:
    """`w · x / sqrt(mean(x²) + eps)`, some rows at a time where there are many."""
    if kernels.worth(x, weight):
        return kernels.rms_norm(x, weight, eps)
    return F.rms_norm(x, weight.shape, weight, eps)


class RMSNorm(Part):
    """Unit root mean square, then a gain: no mean, no offset. Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467"""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        at_least_one("RMSNorm", dim=dim)
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return rms_norm(x, self.weight, self.eps)


class GatedRMSNorm(Part):
    """`RMSNorm(x · SiLU(gate))`. Dao & Gu 2024 (Mamba-2), https://arxiv.org/abs/2405.21060"""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        at_least_one("GatedRMSNorm", dim=dim)
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(
        self, x: Float[Tensor, "batch time dim"], gate: Float[Tensor, "batch time dim"]
    ) -> Float[Tensor, "batch time dim"]:
        fused = None
        if x.dim() == 3 and x.shape == gate.shape and x.shape[-1] == self.dim:
            fused = fused_pass("fused_norm", "FusedGatedNorm", x.numel(), x, gate, self.weight)
        if fused is None:
            return rms_norm(x * F.silu(gate), self.weight, self.eps)
        normed: Tensor = fused.apply(x, gate, self.weight, self.eps)
        return normed


class NoNorm(Part):
    """Leaves the states as they are, where a norm could stand."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return x


NORMS: dict[str, Callable[..., Part]] = {"layer": LayerNorm, "rms": RMSNorm}
"""Norms by the name that presets and patterns use."""
