"""Positions that are added to the states."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


class Interpolated(Position):
    """Learned positions stretched to inputs longer than they were learned for; shorter ones stay as they are.

    Positions 0 … n − 1 of a longer input are spread evenly over those that there are, and between two of them their
    vectors are mixed. Chen et al. 2023, https://arxiv.org/abs/2306.15595 (there for rope)

    Args:
        learned: the positions.
        max_len: the longest input, above what `learned` has.

    Raises:
        UserError: it is no longer; on use, a longer input.
    """

    def __init__(self, learned: Position, max_len: int) -> None:
        super().__init__()
        if not isinstance(learned, Learned):
            raise UserError(f"Interpolated stretches learned positions, not {type(learned).__name__}")
        if learned.max_len is None or max_len <= learned.max_len:
            raise UserError(f"Interpolated: {learned.max_len} positions reach to {max_len}; give a longer max_len")
        self.learned, self.max_len = learned, max_len

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        self.learned.check(dim, heads, head_dim)

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        weight = self.learned.weight
        end, highest = len(weight) - 1, positions.amax(1, keepdim=True)
        if visible(positions):
            self.extend(int(highest.max()) + 1)
        place = positions * (end / highest.clamp_min(end)).to(torch.float32)
        low = place.floor()
        share = (place - low)[..., None].to(weight.dtype)
        below, above = low.long().clamp(0, end), (low.long() + 1).clamp(0, end)
        return x + weight[below].lerp(weight[above], share)


class AxisPositions(Position):
    """Positions as places in a grid, with a learned vector for each place along each axis; their sum is added.

    Pixels have a row, a column and a channel; texts and sounds a block and a place in it. Child et al. 2019, section
    5.3, https://arxiv.org/abs/1904.10509

    Args:
        sizes: of the axes, the slowest first; positions count through the last one first.

    Raises:
        UserError: no axes, or one without places; on use, a position beyond the grid.
    """

    def __init__(self, sizes: Sequence[int], dim: int) -> None:
        super().__init__()
        if not sizes:
            raise UserError("AxisPositions has no axes; give sizes such as [16, 16]")
        for size in sizes:
            at_least_one("AxisPositions", size=size, dim=dim)
        self.sizes, self.dim, self.max_len = tuple(sizes), dim, math.prod(sizes)
        self.weights = nn.ParameterList(torch.empty(size, dim) for size in sizes)
        for weight in self.weights:
            normal(weight, (dim * len(sizes)) ** -0.5)

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if dim != self.dim:
            raise UserError(f"position AxisPositions has dim {self.dim} and the states {dim}; give it dim={dim}")

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        if visible(positions):
            self.extend(int(positions.max()) + 1)
        for size, weight in zip(reversed(self.sizes), reversed(list(self.weights)), strict=True):
            x = x + weight[positions % size]
            positions = positions // size
        return x


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
