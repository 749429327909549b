"""Depthwise separable convolutions that look to both sides."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from twofold.parts.caches import Cache
from twofold.parts.linear import Dense
from twofold.parts.mixers.centred_conv import CentredConv
from twofold.parts.mixers.mixer import AnyMask, Mixer


class SeparableConv(Mixer):
    """`out(conv(x))`: a convolution of each feature for itself, then a linear map of the features.

    Chollet 2017, https://arxiv.org/abs/1610.02357. Padding counts as zero; packed segments do not meet.

    Args:
        dim: width of the states.
        kernel: positions that it sees, an odd number.

    Raises:
        UserError: an even kernel.
    """

    causal = "no"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, 17), "wide": cls(dim, 33)}

    def __init__(self, dim: int, kernel: int = 5) -> None:
        super().__init__()
        self.dim = dim
        self.conv = CentredConv(dim, kernel, bias=False)
        self.out = Dense(dim, dim)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        return self.out(self.conv(x, mask, cache))

    def flops(self, time: int) -> int:
        return self.conv.flops(time) + self.out.flops(time)
