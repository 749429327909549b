"""Low-rank adapters: a trained correction of few weights beside a frozen linear map."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.linear import Linear
from twofold.parts.part import Part


class LowRank(Linear):
    """`inner(x) + (alpha / rank) · up(down(x))`, which is `inner(x)` at the start. Hu et al. 2021, equation 3, https://arxiv.org/abs/2106.09685

    Args:
        inner: a linear map; whoever trains the adapter freezes it.
        rank: width of the correction, from 1 to the smaller width of `inner`.
        alpha: of the correction's scale.

    Raises:
        UserError: a rank out of range, or something that is no linear map.
    """

    def __init__(self, inner: Part, rank: int, alpha: float = 16.0) -> None:
        super().__init__()
        at_least_one("LowRank", rank=rank)
        if not isinstance(inner, Linear):
            raise UserError(f"LowRank stands beside a linear map, and {type(inner).__name__} is none")
        if rank > min(inner.inputs, inner.outputs):
            most = min(inner.inputs, inner.outputs)
            raise UserError(f"LowRank: rank {rank} is above {most}, the smaller width of the map; use at most {most}")
        self.inner, self.rank, self.alpha = inner, rank, alpha
        self.down = nn.Parameter(torch.empty(rank, inner.inputs))
        self.up = nn.Parameter(torch.zeros(inner.outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def inputs(self) -> int:  # type: ignore[override]
        return self.inner.inputs

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.inner.outputs

    @property
    def bias(self) -> Any:
        return self.inner.bias

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        correction = (x @ self.down.T) @ self.up.T
        return self.inner.mapped(x) + self.alpha / self.rank * correction

    def flops(self, rows: int) -> int:
        return self.inner.flops(rows) + 2 * rows * self.rank * (self.inputs + self.outputs)

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.inner.matrix() + self.alpha / self.rank * self.up @ self.down
