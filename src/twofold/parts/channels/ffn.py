"""The feed-forward network: two linear maps with a nonlinearity between, at every position alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.errors import unknown
from twofold.parts.arguments import at_least_one
from twofold.parts.linear import linear as make_linear
from twofold.parts.linear import linear_flops
from twofold.parts.masks import Mask
from twofold.parts.part import Part


def _squared_relu(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _sigmoid_gelu(x: Tensor) -> Tensor:
    """`x σ(1.702 x)`. Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415"""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_sigmoid": _sigmoid_gelu,
    "relu": F.relu,
    "relu2": _squared_relu,
    "silu": F.silu,
    "tanh": F.tanh,
}
"""Nonlinearities by name; `gelu` is the exact one (erf)."""


def nonlinearity(name: str) -> Callable[[Tensor], Tensor]:
    """The nonlinearity of that name (UserError where there is none)."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


class ChannelMixer(Part, abstract=True):
    """Mixes the features of each position; no exchange between positions.

    Attributes:
        dim: width of the states.
    """

    dim: int

    def forward(self, x: Float[Tensor, "batch time dim"], mask: Mask | None = None) -> Float[Tensor, "batch time dim"]:
        raise NotImplementedError

    def flops(self, time: int) -> int:
        """Multiply–adds, times two, for one row of `time` tokens."""
        raise NotImplementedError


class FFN(ChannelMixer):
    """`down(act(up(x)))`, or gated `down(act(gate(x)) * up(x))` (SwiGLU with silu; Shazeer 2020, https://arxiv.org/abs/2002.05202).

    Args:
        dim: width of the states.
        hidden: width between the maps.
        activation: a name of `ACTIVATIONS`.
        gate: a third map `gate` goes through the nonlinearity and multiplies.
        bias: of every map.
        linear: kind of the maps, such as `lowrank(0.25)`.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        activation: str = "gelu",
        gate: bool = False,
        bias: bool = True,
        linear: str = "dense",
    ) -> None:
        super().__init__()
        at_least_one("FFN", dim=dim, hidden=hidden)
        self.dim, self.hidden = dim, hidden
        self.act = nonlinearity(activation)
        self.up = make_linear(dim, hidden, bias, linear)
        self.gate = make_linear(dim, hidden, bias, linear) if gate else None
        self.down = make_linear(hidden, dim, bias, linear)

    def forward(self, x: Float[Tensor, "batch time dim"], mask: Mask | None = None) -> Float[Tensor, "batch time dim"]:
        if self.gate is None:
            return self.down(self.act(self.up(x)))
        return self.down(self.act(self.gate(x)) * self.up(x))

    def flops(self, time: int) -> int:
        return sum(linear_flops(part, time) for part in (self.up, self.gate, self.down) if part is not None)
