"""Range search: the scale of each group with which rounding to integers loses least.

All groups of a matrix are searched at once. What is returned is never worse than the scale that just covers the
group's largest weight, both as they are stored (float16).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from twofold.surgery.quantize import IntGrid, from_range, group_size

How = Literal["grad", "alternate", "absmax"]

_BETAS, _TINY = (0.9, 0.999), 1e-12


def best_scale(
    weight: Tensor, grid: IntGrid, group: int | None = None, how: How = "grad", steps: int = 100, rate: float = 1e-3
) -> Tensor:
    """The scale of each group, float16 `[out, groups]`, that minimises ‖w − s · clamp(round(w / s))‖².

    With the codes q held fixed the derivative is 2⟨s·q − w, q⟩. EasyQuant, Tang et al. 2024, section 3.2.

    Args:
        weight: `[out, in]`; what must not count has been set to zero.
        grid: a symmetric one.
        group: columns that share a scale; None: the whole row.
        how: grad: Adam on that derivative, from the covering scale. alternate: s ← ⟨w,q⟩ / ⟨q,q⟩ and rounding in
            turn, from 0.6 to 1.0 of the covering scale. absmax: the covering scale itself.
        steps: of Adam.
        rate: of Adam, as a share of the covering scale.

    Raises:
        ValueError: the grid has an offset.
    """
    if grid.zero:
        raise ValueError("ranges are searched for symmetric grids")
    start = from_range(weight, grid, group)[0]
    if how == "absmax":
        return start
    parts = _zero_filled(weight, group_size(weight, group))
    best, least = start, _loss(parts, grid, start)
    found = _descend(parts, grid, start, steps, rate) if how == "grad" else _alternate(parts, grid, start)
    for scale in found:
        # Only groups of weights that are not all zero have a scale that can change.
        candidate = torch.where(start > 0, scale.half(), start)
        loss = _loss(parts, grid, candidate)
        better = loss < least
        best, least = torch.where(better, candidate, best), torch.where(better, loss, least)
    return best


def _zero_filled(weight: Tensor, group: int) -> Tensor:
    """`[out, groups, group]`; a shorter last group is filled up with zeros, which add to no sum."""
    return torch.nn.functional.pad(weight.float(), (0, -weight.shape[1] % group)).unflatten(1, (-1, group))


def _codes(parts: Tensor, grid: IntGrid, scale: Tensor) -> Tensor:
    return grid.rounded(parts * torch.where(scale > 0, scale.reciprocal(), 0.0)[..., None])


def _loss(parts: Tensor, grid: IntGrid, scale: Tensor) -> Tensor:
    wide = scale.float()
    return _codes(parts, grid, wide).mul_(wide[..., None]).sub_(parts).square_().sum(2)


def _descend(parts: Tensor, grid: IntGrid, start: Tensor, steps: int, rate: float) -> Iterator[Tensor]:
    """Adam (Kingma & Ba 2015) on s = start · t, from t = 1; every step's scale."""
    wide = start.float()
    t, mean, square = torch.ones_like(wide), torch.zeros_like(wide), torch.zeros_like(wide)
    for step in range(1, steps + 1):
        scale = wide * t
        q = _codes(parts, grid, scale)
        slope = 2 * wide * (scale * q.square().sum(2) - (parts * q).sum(2))
        mean = _BETAS[0] * mean + (1 - _BETAS[0]) * slope
        square = _BETAS[1] * square + (1 - _BETAS[1]) * slope.square()
        change = (mean / (1 - _BETAS[0] ** step)) / ((square / (1 - _BETAS[1] ** step)).sqrt() + _TINY)
        t = t - rate * change
        yield wide * t


def _alternate(parts: Tensor, grid: IntGrid, start: Tensor, rounds: int = 8) -> Iterator[Tensor]:
    for share in (0.6, 0.7, 0.8, 0.9, 1.0):
        scale = start.float() * share
        for _ in range(rounds):
            q = _codes(parts, grid, scale)
            own = q.square().sum(2)
            scale = torch.where(own > 0, (parts * q).sum(2) / own.clamp_min(1), scale)
        yield scale
