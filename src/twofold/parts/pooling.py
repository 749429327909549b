"""From the states of a sequence to one vector (or a few). Padding never counts; rows of padding alone give zeros."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from twofold.parts.arguments import at_least_one
from twofold.parts.init import normal
from twofold.parts.part import Part

States = Float[Tensor, "batch time dim"]
Real = Bool[Tensor, "batch time"]


class Pool(Part, abstract=True):
    """`pool(states [B, T, D], real [B, T])` -> `[B, D]`, or `[B, m, D]` for pools that keep several vectors."""

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch *few dim"]:
        raise NotImplementedError


class Cls(Pool):
    """The first real token."""

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch dim"]:
        return _at(states, real, real.int().argmax(1))


class Last(Pool):
    """The last real token."""

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch dim"]:
        return _at(states, real, real.shape[1] - 1 - real.flip(1).int().argmax(1))


class Mean(Pool):
    """The mean over real tokens."""

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch dim"]:
        return _weighted(states, real.to(states.dtype))


class WeightedMean(Pool):
    """The mean with weights 1, 2, 3, … over real tokens. Muennighoff 2022, https://arxiv.org/abs/2202.08904"""

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch dim"]:
        weight = real.float().cumsum(1) * real
        return _weighted(states, (weight / weight.amax(1, keepdim=True).clamp_min(1)).to(states.dtype))


class Max(Pool):
    """The largest value of each feature over real tokens."""

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch dim"]:
        largest = states.masked_fill(~real[..., None], float("-inf")).amax(1)
        return largest.masked_fill(~real.any(1, keepdim=True), 0)


class FirstM(Pool):
    """The first `count` real tokens, `[B, count, D]`; zeros where there are fewer."""

    def __init__(self, count: int) -> None:
        super().__init__()
        at_least_one("FirstM", count=count)
        self.count = count

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch few dim"]:
        first = real.int().argsort(stable=True, dim=1, descending=True)[:, : self.count]
        kept = states.gather(1, first[..., None].expand(-1, -1, states.shape[2]))
        kept = kept * real.gather(1, first)[..., None]
        return F.pad(kept, (0, 0, 0, self.count - kept.shape[1]))


class FirstOrLast(Pool):
    """The first `count` real tokens, `[B, count, D]`; in shorter texts the last real one again.

    Luan et al. 2021, https://arxiv.org/abs/2005.00181, section 5: what a document keeps of itself.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        at_least_one("FirstOrLast", count=count)
        self.count = count

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch few dim"]:
        order = real.int().argsort(stable=True, dim=1, descending=True)
        place = torch.arange(self.count, device=states.device).expand(len(states), -1)
        place = torch.minimum(place, real.sum(1, keepdim=True).clamp_min(1) - 1)
        kept = states.gather(1, order.gather(1, place)[..., None].expand(-1, -1, states.shape[2]))
        return kept * real.any(1)[:, None, None]


class CodeAttention(Pool):
    """`count` learned codes attend over the tokens, `[B, count, D]`: `Σ_t softmax_t(code · h_t) h_t`.

    Humeau et al. 2020, https://arxiv.org/abs/1905.01969, section 4.4. Codes start random: equal ones would stay equal.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        at_least_one("CodeAttention", dim=dim, count=count)
        self.codes = nn.Parameter(torch.empty(count, dim))
        normal(self.codes, dim**-0.5)

    def forward(self, states: States, real: Real) -> Float[Tensor, "batch few dim"]:
        logits = torch.einsum("btd,md->bmt", states, self.codes)
        seen = real[:, None]
        weights = logits.masked_fill(~seen, torch.finfo(logits.dtype).min).softmax(-1) * seen
        return weights @ states


def _at(states: Tensor, real: Tensor, index: Tensor) -> Tensor:
    rows = torch.arange(len(states), device=states.device)
    return states[rows, index] * real.any(1, keepdim=True)


def _weighted(states: Tensor, weight: Tensor) -> Tensor:
    total = torch.einsum("btd,bt->bd", states, weight)
    return total / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
