"""Short convolutions over the past: alone, or in front of another mixer."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts import kernels
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, ConvCache, StackCache
from twofold.parts.fused import fused_pass
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer


class CausalConv(Mixer):
    """Depthwise convolution over the last `kernel` positions: each feature for itself.

    Padding counts as zero, and packed segments do not reach into each other.

    Args:
        dim: width of the states.
        kernel: positions it sees, oneself included.
        bias: an offset for each feature.
    """

    causal = "yes"
    spans = ("kernel",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim), "two": cls(dim, 2, bias=False)}

    def __init__(self, dim: int, kernel: int = 4, bias: bool = True) -> None:
        super().__init__()
        at_least_one("CausalConv", dim=dim, kernel=kernel)
        self.dim, self.kernel = dim, kernel
        self.weight = nn.Parameter(torch.empty(kernel, dim).uniform_(-(kernel**-0.5), kernel**-0.5))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask)
        x = self.real(x, mask)
        segments, time, back = mask.segment_ids, x.shape[1], self.kernel - 1
        if cache is None and segments is None and kernels.worth(x, self.weight, self.bias):
            return kernels.causal_conv(x, self.weight, self.bias)
        if cache is None:
            x = nn.functional.pad(x, (0, 0, back, 0))
            segments = None if segments is None else nn.functional.pad(segments, (back, 0), value=-1)
        else:
            if not isinstance(cache, ConvCache):
                raise UserError(f"CausalConv needs the cache that its new_cache makes, not {type(cache).__name__}")
            x, segments = cache.append(x, segments)
        y = x[:, back:] * self.weight[0] if self.bias is None else torch.addcmul(self.bias, x[:, back:], self.weight[0])
        for tap in range(1, self.kernel):
            past = x[:, back - tap : back - tap + time]
            if segments is not None:
                same = segments[:, back - tap : back - tap + time] == segments[:, back:]
                past = past * same[..., None].to(past.dtype)
            y = torch.addcmul(y, past, self.weight[tap])
        return y

    @staticmethod
    def real(x: Float[Tensor, "batch time dim"], mask: Mask) -> Float[Tensor, "batch time dim"]:
        """The states with zeros where they are padding."""
        mask.check(x.shape[0], x.shape[1])
        return x if mask.pad is None else x * mask.pad[..., None].to(x.dtype)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> ConvCache:
        like = self.like()
        where = like.device if device is None else device
        return ConvCache(batch, self.dim, self.kernel - 1, dtype or like.dtype, where)

    def flops(self, time: int) -> int:
        return 2 * time * self.kernel * self.dim


class SiluConv(CausalConv):
    """SiLU of a `CausalConv`."""

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask)
        fused = None
        fits = x.dim() == 3 and x.shape[-1] == self.dim
        if cache is None and mask.segment_ids is None and self.bias is not None and fits:
            fused = fused_pass("fused_conv", "FusedConvSilu", x.numel(), x, self.weight, self.bias)
        if fused is None:
            return nn.functional.silu(super().forward(x, mask, cache))
        y: Tensor = fused.apply(self.real(x, mask), self.weight, self.bias)
        return y


class Convolved(Mixer):
    """Another mixer that reads `x + conv(x)`, so that a token brings its predecessors with it.

    Attention that recalls what followed an earlier copy needs this or a second layer. Fu et al. 2023 (H3's shift),
    https://arxiv.org/abs/2212.14052; Arora et al. 2023, https://arxiv.org/abs/2312.04927

    Args:
        mixer: what reads them.
        conv: a `CausalConv` as wide.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        from twofold.parts.mixers.attention import Attention
        from twofold.parts.positions import Rope

        return {"attention": cls(Attention(dim, 4, position=Rope(), causal=True), CausalConv(dim, 3))}

    def __init__(self, mixer: Mixer, conv: CausalConv) -> None:
        super().__init__()
        if mixer.dim != conv.dim:
            raise UserError(f"Convolved: the mixer is {mixer.dim} wide and the convolution {conv.dim}; make them equal")
        self.mixer, self.conv = mixer, conv
        self.dim, self.causal, self.max_len, self.has_qk = mixer.dim, mixer.causal, mixer.max_len, mixer.has_qk
        self.pads, self.leaks = mixer.pads, mixer.leaks
        self.needs_memory, self.has_matrix = mixer.needs_memory, mixer.has_matrix

    def read(self, x: Tensor, mask: AnyMask = None, cache: Cache | None = None) -> Tensor:
        """What the mixer is given."""
        return x + cast(Tensor, self.conv(x, mask, cache))

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        if cache is None:
            return cast(Tensor, self.mixer(self.read(x, mask), mask))
        if not isinstance(cache, StackCache):
            raise UserError(f"Convolved needs the cache that its new_cache makes, not {type(cache).__name__}")
        y: Tensor = self.mixer(self.read(x, mask, cache.layers[0]), mask, cache.layers[1])
        cache.length += x.shape[1]
        return y

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        inner = self.mixer.new_cache(batch, max_len, dtype, device)
        return StackCache([self.conv.new_cache(batch, max_len, dtype, device), inner], max_len)

    def flops(self, time: int) -> int:
        return self.conv.flops(time) + self.mixer.flops(time)

    def matrix(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        return self.mixer.matrix(self.read(x, mask), mask)

    def values(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads sources d"]:
        return self.mixer.values(self.read(x, mask), mask)

    def merge(self, heads: Float[Tensor, "batch heads time d"]) -> Float[Tensor, "batch time dim"]:
        return self.mixer.merge(heads)
