"""Positions that are added to the states."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.init import normal
from twofold.parts.positions.base import Position, Positions, frequencies
from twofold.parts.rules import visible


class Learned(Position):
    """One learned vector for each position below `max_len`, added to the states.

    Raises:
        UserError: on use, at a position of `max_len` or beyond.
    """

    def __init__(self, max_len: int, dim: int) -> None:
        super().__init__()
        at_least_one("Learned", max_len=max_len, dim=dim)
        self.max_len, self.dim = max_len, dim
        self.weight = nn.Parameter(torch.empty(max_len, dim))
        normal(self.weight, dim**-0.5)

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if dim != self.dim:
            raise UserError(
                f"position Learned has dim {self.dim} and the states {dim}; give Learned(max_len, dim={dim})"
            )

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        if visible(positions):
            self.extend(int(positions.max()) + 1)
        return x + self.weight[positions]


class Sinusoid(Position):
    """Sines and cosines of geometric wavelengths, in turn, added to the states.

    Vaswani et al. 2017, §3.5, https://arxiv.org/abs/1706.03762
    """

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if dim % 2:
            raise UserError(f"position Sinusoid needs an even dim, not {dim}; use dim={dim + 1}")

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        angles = positions[..., None] * frequencies(x.shape[-1], self.base, x)
        return x + torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).to(x.dtype)
