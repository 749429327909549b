"""Long convolutions that look to both sides."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache
from twofold.parts.documents import each_document
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.centred_conv import CentredConv
from twofold.parts.mixers.hyena import ImplicitFilter
from twofold.parts.mixers.mixer import AnyMask, Mixer


def two_way_conv(
    u: Float[Tensor, "*batch time"], before: Float[Tensor, "*channels time"], behind: Float[Tensor, "*channels time"]
) -> Float[Tensor, "*batch time"]:
    """`y_t = Σ_{s ≤ t} before_{t-s} u_s + Σ_{s ≥ t} behind_{s-t} u_s`, by one FFT of twice the length."""
    time = u.shape[-1]
    fine = torch.promote_types(u.dtype, torch.float32)
    # Lags below 0 stand at the end of the circle; the middle, lag -time, is never reached.
    kernel = torch.cat([before, torch.zeros_like(before[..., :1]), behind[..., 1:].flip(-1)], -1)
    now = torch.zeros_like(kernel)
    now[..., 0] = behind[..., 0]
    spectrum = torch.fft.rfft(u.to(fine), n=2 * time) * torch.fft.rfft((kernel + now).to(fine), n=2 * time)
    return torch.fft.irfft(spectrum, n=2 * time)[..., :time].to(u.dtype)


class MonarchConv(Mixer):
    """`out(q · (h ∗ (k · v)) + g ∗ x)`: a gated long convolution to both sides, and a plain one beside it.

    The sequence mixer of Monarch Mixer. Fu et al. 2023, https://arxiv.org/abs/2310.12109; Saad-Falcon et al. 2024
    (M2-BERT for retrieval), https://arxiv.org/abs/2402.07440. q, k and v are linear maps and a short convolution; each
    feature has kernels of its own, which a small network gives for every place (`ImplicitFilter`).

    Args:
        dim: width of the states.
        kernel: positions of the short convolution, an odd number.
        length: the scale of time of the long ones, in tokens.
        residual: the plain convolution.
    """

    causal = "no"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, length=16), "gated-only": cls(dim, 1, 16, residual=False)}

    def __init__(self, dim: int, kernel: int = 3, length: int = 256, residual: bool = True) -> None:
        super().__init__()
        at_least_one("MonarchConv", dim=dim, length=length)
        self.dim = dim
        self.enter_map = Dense(dim, 3 * dim)
        self.conv = CentredConv(3 * dim, kernel)
        self.before, self.behind = ImplicitFilter(dim, length), ImplicitFilter(dim, length)
        self.plain_before = ImplicitFilter(dim, length) if residual else None
        self.plain_behind = ImplicitFilter(dim, length) if residual else None
        self.out = Dense(dim, dim)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask).two_way("MonarchConv", "Hyena for causal models")
        mask.check(x.shape[0], x.shape[1])
        if cache is not None:
            raise UserError("MonarchConv looks ahead, so it cannot work step by step; give it whole sequences")
        return self._whole(x, mask) if mask.segment_ids is None else each_document(x, mask, self._whole)

    def _whole(self, x: Tensor, mask: Mask) -> Tensor:
        """Rows of one document each."""
        time = x.shape[1]
        q, k, v = cast(Tensor, self.conv(self.enter_map(x), mask)).chunk(3, -1)
        product = k * v
        if mask.pad is not None:
            real = mask.pad[..., None].to(x.dtype)
            product, x = product * real, x * real
        y = q * self._long(product, self.before.kernel(time), self.behind.kernel(time))
        if self.plain_before is not None and self.plain_behind is not None:
            y = y + self._long(x, self.plain_before.kernel(time), self.plain_behind.kernel(time))
        return self.out(y)

    @staticmethod
    def _long(u: Tensor, before: Tensor, behind: Tensor) -> Tensor:
        return two_way_conv(u.transpose(1, 2), before, behind).transpose(1, 2)

    def flops(self, time: int) -> int:
        points = 2 * time
        convolutions = 1 if self.plain_before is None else 2
        transforms = 3 * 5 * self.dim * points * max(1, math.ceil(math.log2(points))) // 2
        maps = self.enter_map.flops(time) + self.out.flops(time) + self.conv.flops(time)
        return maps + convolutions * transforms + 2 * self.dim * time
