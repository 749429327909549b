"""Short convolutions that look to both sides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache
from twofold.parts.fitting import odd
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer


class CentredConv(Mixer):
    """Depthwise convolution over (kernel - 1) / 2 positions to each side: each feature for itself.

    Padding counts as zero, and packed segments do not reach into each other.

    Args:
        dim: width of the states.
        kernel: positions it sees, an odd number.
        bias: an offset for each feature.

    Raises:
        UserError: an even kernel.
    """

    causal = "no"
    spans = ("kernel",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, 33), "no-bias": cls(dim, 17, bias=False)}

    def __init__(self, dim: int, kernel: int = 7, bias: bool = True) -> None:
        super().__init__()
        at_least_one("CentredConv", dim=dim, kernel=kernel)
        if kernel % 2 == 0:
            raise UserError(
                f"CentredConv: a kernel of {kernel} has no middle; use kernel={kernel - 1} or kernel={kernel + 1}"
            )
        self.dim, self.kernel = dim, kernel
        self.weight = nn.Parameter(torch.empty(kernel, dim).uniform_(-(kernel**-0.5), kernel**-0.5))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask).two_way("CentredConv", "CausalConv for causal models")
        mask.check(x.shape[0], x.shape[1])
        if cache is not None:
            raise UserError("CentredConv needs the whole sequence at once; use CausalConv to go step by step")
        if mask.pad is not None:
            x = x * mask.pad[..., None].to(x.dtype)
        side = self.kernel // 2
        if mask.segment_ids is None:
            weight = self.weight.T[:, None]
            return F.conv1d(x.transpose(1, 2), weight, self.bias, padding=side, groups=self.dim).transpose(1, 2)
        time = x.shape[1]
        wide = F.pad(x, (0, 0, side, side))
        segments = F.pad(mask.segment_ids, (side, side), value=-1)
        y = torch.zeros_like(x)
        for tap in range(self.kernel):
            same = segments[:, tap : tap + time] == mask.segment_ids
            y = y + wide[:, tap : tap + time] * self.weight[tap] * same[..., None].to(x.dtype)
        return y if self.bias is None else y + self.bias

    def within(self, span: str, longest: int) -> dict[str, int]:
        return odd(span, longest)

    def flops(self, time: int) -> int:
        return 2 * time * self.kernel * self.dim
