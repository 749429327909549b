"""Two mixers of the same kind on the same input, one taken from the other."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.building import build
from twofold.parts.caches import Cache, StackCache
from twofold.parts.init import normal
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mamba import S6, SSD
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.norms import RMSNorm
from twofold.parts.positions import Rope


class Differential(Mixer):
    """`(1 - λ0) · RMSNorm(inner(x) - λ · other(x))` with `λ = σ(Σ w) + λ0`: what both take in by mistake cancels.

    Schneider, Zimerman & Nachmani 2025 (Differential Mamba), https://arxiv.org/abs/2507.06204, after Ye et al. 2024
    (differential attention), https://arxiv.org/abs/2410.05258. `λ0 = 0.8 - 0.6 exp(-0.3 (layer - 1))`; λ may exceed 1.

    Args:
        inner: a mixer; `other` is a second of the same spec with its own weights (equal ones would cancel).
        layer: which layer of the stack this is, from 1.
        spread: standard deviation of Σ w at the beginning. (The authors' code draws w from N(0, 1), so √dim, at which
            σ is 0 or 1 from the start.)

    Raises:
        UserError: a layer below 1.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "ssd": cls(SSD(dim, expand=1, state=4, head_dim=8), 1),
            "s6": cls(S6(dim, expand=1, state=3), 3),
            "attention": cls(Attention(dim, 2, position=Rope()), 2),
        }

    def __init__(self, inner: Mixer, layer: int, spread: float = 1.0) -> None:
        super().__init__()
        if layer < 1:
            raise UserError(f"Differential: layer is {layer}; layers are counted from 1")
        self.inner = inner
        self.other = cast(Mixer, build(inner.spec()))
        self.dim, self.causal, self.max_len, self.has_qk = inner.dim, inner.causal, inner.max_len, False
        self.pads, self.leaks, self.needs_memory = inner.pads, inner.leaks, inner.needs_memory
        self.start = 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))
        self.weight = nn.Parameter(torch.empty(self.dim))
        normal(self.weight, spread * self.dim**-0.5)
        self.norm = RMSNorm(self.dim, 1e-5)

    @property
    def share(self) -> Float[Tensor, ""]:
        """λ: how much of the other is taken away, from λ0 to 1 + λ0."""
        return torch.sigmoid(self.weight.sum()) + self.start

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        first, second = None, None
        if cache is not None:
            if not isinstance(cache, StackCache) or len(cache.layers) != 2:
                raise UserError(f"Differential needs the cache that its new_cache makes, not {type(cache).__name__}")
            first, second = cache.layers
            cache.length += x.shape[1]
        y = self.inner(x, mask, first) - self.share.to(x.dtype) * self.other(x, mask, second)
        return (1 - self.start) * self.norm(y)

    def implicit(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        """The inner mixers' matrices, one taken from the other, before the norm.

        Raises:
            UserError: inner mixers that have none.
        """
        found = [getattr(m, "implicit", None) or m.matrix for m in (self.inner, self.other)]
        return found[0](x, mask) - self.share * found[1](x, mask)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        return StackCache([m.new_cache(batch, max_len, dtype, device) for m in (self.inner, self.other)], max_len)

    def flops(self, time: int) -> int:
        return self.inner.flops(time) + self.other.flops(time)
