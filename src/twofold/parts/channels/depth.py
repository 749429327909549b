"""Feed-forward parts of other depths than two: none, one linear map, or three.

Gerber 2025, "Attention Is Not All You Need: The Importance of Feedforward Networks in Transformer Models",
https://arxiv.org/abs/2505.06633
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import FFN, ChannelMixer, nonlinearity
from twofold.parts.linear import linear as make_linear
from twofold.parts.linear import linear_flops
from twofold.parts.masks import Mask
from twofold.parts.part import Part


class OneLayer(ChannelMixer):
    """One linear map from the features to themselves, and no nonlinearity.

    Args:
        dim: width of the states.
        bias: of the map.
        linear: its kind.
    """

    def __init__(self, dim: int, bias: bool = True, linear: str = "dense") -> None:
        super().__init__()
        at_least_one("OneLayer", dim=dim)
        self.dim = dim
        self.down = make_linear(dim, dim, bias, linear)

    def forward(self, x: Float[Tensor, "batch time dim"], mask: Mask | None = None) -> Float[Tensor, "batch time dim"]:
        return self.down(x)

    def flops(self, time: int) -> int:
        return linear_flops(self.down, time)


class ThreeLayer(ChannelMixer):
    """`down(act(middle(act(up(x)))))`.

    Args:
        dim: width of the states.
        hidden: width of both hidden layers.
        activation: a name of `ACTIVATIONS`.
        bias: of every map.
        linear: kind of the maps.
    """

    def __init__(
        self, dim: int, hidden: int, activation: str = "gelu", bias: bool = True, linear: str = "dense"
    ) -> None:
        super().__init__()
        at_least_one("ThreeLayer", dim=dim, hidden=hidden)
        self.dim, self.hidden = dim, hidden
        self.act = nonlinearity(activation)
        self.up = make_linear(dim, hidden, bias, linear)
        self.middle = make_linear(hidden, hidden, bias, linear)
        self.down = make_linear(hidden, dim, bias, linear)

    def forward(self, x: Float[Tensor, "batch time dim"], mask: Mask | None = None) -> Float[Tensor, "batch time dim"]:
        return self.down(self.act(self.middle(self.act(self.up(x)))))

    def flops(self, time: int) -> int:
        return sum(linear_flops(part, time) for part in (self.up, self.middle, self.down))


Made = Callable[[int, int, str, bool, str], ChannelMixer | None]

DEPTHS: dict[int, Made] = {
    0: lambda dim, hidden, activation, bias, linear: None,
    1: lambda dim, hidden, activation, bias, linear: OneLayer(dim, bias, linear),
    2: lambda dim, hidden, activation, bias, linear: FFN(dim, hidden, activation, False, bias, linear),
    3: lambda dim, hidden, activation, bias, linear: ThreeLayer(dim, hidden, activation, bias, linear),
}
"""Feed-forward parts by how many linear maps they have."""


def feed_forward(
    dim: int, hidden: int, depth: int = 2, activation: str = "gelu", bias: bool = True, linear: str = "dense"
) -> ChannelMixer | None:
    """A feed-forward part of `depth` linear maps; none at all at depth 0.

    Raises:
        UserError: a depth that there is not.
    """
    if depth not in DEPTHS:
        raise UserError(f"a feed-forward part has {min(DEPTHS)} to {max(DEPTHS)} linear maps, not {depth}")
    return DEPTHS[depth](dim, hidden, activation, bias, linear)


def set_channels(net: Part, make: Callable[[int, Part | None], Part | None]) -> None:
    """Puts `make(layer, present)` in the place of every block's channel mixer; None leaves the block without one.

    The norm before a channel mixer that goes is taken away with it.
    """
    from twofold.parts.stack import Block, NoNorm, Stack

    for stack in net.modules():
        if not isinstance(stack, Stack):
            continue
        for layer, block in enumerate(stack.layers):
            channel = make(layer, cast(Block, block).channel)
            cast(Block, block).channel = channel
            if channel is None:
                cast(Block, block).channel_norm = NoNorm()
