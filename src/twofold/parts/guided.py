"""Self-guided training: a plain matrix leads a structured map at first, and is taken away later.

Wei et al. 2024, "Building on Efficient Foundations", https://arxiv.org/abs/2406.16450, section 3.3
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts.linear import Dense, Linear, replace_linears


class SelfGuided(Linear):
    """`alpha · W x + (1 − alpha) · structured(x) + bias`, with W the structured map's own matrix at the start.

    `alpha` is a buffer, 1 at first; who trains sets it (`set_guides`). At 0 the guide W is not even computed.

    Args:
        linear: the structured map, which stays.
    """

    alpha: Tensor

    def __init__(self, linear: Linear) -> None:
        super().__init__()
        self.linear = linear
        self.inputs, self.outputs = linear.inputs, linear.outputs
        self.guide = Dense(linear.inputs, linear.outputs, bias=False)
        self.register_buffer("alpha", torch.ones(()))
        if not self.guide.weight.is_meta:
            with torch.no_grad():
                self.guide.weight.copy_(linear.matrix())

    @property
    def bias(self) -> nn.Parameter | None:
        """The structured map's own."""
        return self.linear.bias

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        alpha = float(self.alpha)
        own = self.linear.mapped(x)
        return own if alpha == 0 else alpha * F.linear(x, self.guide.weight) + (1 - alpha) * own

    def flops(self, rows: int) -> int:
        return self.linear.flops(rows) + (0 if self.alpha == 0 else self.guide.flops(rows))

    @property
    def idle_parameters(self) -> int:
        """Weights that no token meets now."""
        return self.guide.weight.numel() if self.alpha == 0 else 0


def cosine_guide(progress: float, until: float = 0.5) -> float:
    """The guide's share at a share `progress` of training: from 1 to 0 along half a cosine, 0 from `until` on."""
    return 0.5 * (1 + math.cos(math.pi * progress / until)) if progress < until else 0.0


def add_guides(net: nn.Module) -> None:
    """Gives every structured map inside `net` a guide."""
    replace_linears(net, lambda _, part: part if isinstance(part, Dense | SelfGuided) else SelfGuided(part))


def set_guides(net: nn.Module, alpha: float) -> None:
    """Sets the guides' share, 0 to 1."""
    for part in net.modules():
        if isinstance(part, SelfGuided):
            part.alpha.fill_(alpha)


def drop_guides(net: nn.Module) -> None:
    """Takes away the guides that have no share any more, which changes no output."""
    replace_linears(net, lambda _, part: part.linear if isinstance(part, SelfGuided) and part.alpha == 0 else part)
