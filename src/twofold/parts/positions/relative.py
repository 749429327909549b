"""Positions that add something to the logits, by distance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.positions.base import KeyPositions, Over, Position, Positions


def alibi_slopes(heads: int) -> list[float]:
    """Slope of each head: 2^(-8h/H), h = 1…H, where H is a power of two; else every other one of 2H's fills up."""
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    return slopes + [2 ** (-4 * h / power) for h in range(1, 2 * (heads - power), 2)]


class Alibi(Position):
    """Logits fall linearly with distance, at a slope of its own in each head. Press et al. 2021, https://arxiv.org/abs/2108.12409

    Args:
        heads: of the attention that carries it.
        slopes: one for each head (default: the paper's), for attention that has lost heads.
    """

    needs_qk = True

    def __init__(self, heads: int, slopes: list[float] | None = None) -> None:
        super().__init__()
        at_least_one("Alibi", heads=heads)
        self.heads = heads
        if slopes is not None and len(slopes) != heads:
            raise UserError(f"position Alibi has {heads} heads and {len(slopes)} slopes; give one slope for each head")
        self._given = slopes

    @property
    def slopes(self) -> list[float]:
        """The slope of each head."""
        return alibi_slopes(self.heads) if self._given is None else self._given

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        _same_heads("Alibi", self.heads, heads)

    def bias(self, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        slopes = torch.tensor(self.slopes, device=positions_q.device)
        distance = (positions_q[:, :, None] - positions_k[:, None, :]).abs()
        return -slopes[:, None, None] * distance[:, None]


class Harmonic(Over):
    """Logits fall with the harmonic number of the distance, H(n) = 1 + 1/2 + … + 1/n, at a slope in each head.

    About the logarithm of the distance, so far tokens lose less than under ALiBi. Over rotary positions this is the
    proposal of Li 2024, https://arxiv.org/abs/2410.18441.

    Args:
        heads, base: as `Over` has them.
        slopes: one for each head (default: ALiBi's).
    """

    def __init__(self, heads: int, base: Position | None = None, slopes: list[float] | None = None) -> None:
        super().__init__(heads, base)
        if slopes is not None and len(slopes) != heads:
            raise UserError(f"position Harmonic has {heads} heads and {len(slopes)} slopes; give one for each head")
        self.slopes = alibi_slopes(heads) if slopes is None else slopes

    def bias(self, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        slopes = torch.tensor(self.slopes, device=positions_q.device)
        distance = (positions_q[:, :, None] - positions_k[:, None, :]).abs()
        own = -slopes[:, None, None] * harmonic(distance)[:, None]
        below = super().bias(positions_q, positions_k)
        return own if below is None else own + below


def harmonic(n: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """H(n) = ψ(n + 1) − ψ(1): 0, 1, 3/2, 11/6, …"""
    one = torch.ones((), device=n.device)
    return torch.digamma(n + one) - torch.digamma(one)


class T5Bias(Position):
    """A learned scalar for each head and bucket of distances: half of the buckets exact, the rest logarithmic.

    Raffel et al. 2020, https://arxiv.org/abs/1910.10683. T5 shares one among all layers: hand the same object to each.

    Args:
        heads: of the attention that carries it.
        buckets: how many; two-way attention spends half on each side.
        max_distance: from here on one bucket serves all.
        two_way: positions ahead have buckets of their own (encoders).
    """

    needs_qk = True
    shared = True

    def __init__(self, heads: int, buckets: int = 32, max_distance: int = 128, two_way: bool = False) -> None:
        super().__init__()
        at_least_one("T5Bias", heads=heads)
        if not 4 <= buckets <= 4096 or buckets % 2:
            raise UserError(f"T5Bias: buckets is {buckets}; it must be even, and from 4 to 4096")
        if max_distance <= buckets:
            raise UserError(f"T5Bias: max_distance ({max_distance}) must be above buckets ({buckets})")
        self.heads, self.buckets, self.max_distance, self.two_way = heads, buckets, max_distance, two_way
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        _same_heads("T5Bias", self.heads, heads)

    def bucket(self, distance: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """Bucket of each distance key − query."""
        count = self.buckets // 2 if self.two_way else self.buckets
        ahead = (distance > 0).long() * count if self.two_way else torch.zeros_like(distance)
        distance = distance.abs() if self.two_way else (-distance).clamp_min(0)
        exact = count // 2
        share = torch.log(distance.clamp_min(1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (share * (count - exact)).long()).clamp_max(count - 1)
        return ahead + torch.where(distance < exact, distance, far)

    def bias(self, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        buckets = self.bucket(positions_k[:, None, :] - positions_q[:, :, None])
        return F.embedding(buckets, self.weight).permute(0, 3, 1, 2)


def _same_heads(position: str, own: int, heads: int | None) -> None:
    if heads is not None and own != heads:
        raise UserError(
            f"position {position} has {own} heads and the attention {heads}; give {position}(heads={heads})"
        )
