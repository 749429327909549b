"""Conditions on (query, key) pairs, and where queries and keys stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Pairs = Bool[Tensor, "rows time sources"]


@dataclass(frozen=True, eq=False)
class Places:
    """Where some tokens are.

    Attributes:
        slots: int `[T]`, places in the tensor, those of the cache counted first.
        positions: int `[1 or B, T]`.
        real: bool `[B, T]`; None: all are.
        segments: int `[B, T]`; None: one document.
    """

    slots: Tensor
    positions: Tensor
    real: Tensor | None = None
    segments: Tensor | None = None


class Rule:
    """One condition. A new rule is a new class with `pairs`."""

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        """Which keys each query may see, `[1 or B, T, S]`."""
        raise NotImplementedError


def _up_to(queries: Places, keys: Places) -> Tensor:
    return (keys.slots[None, :] <= queries.slots[:, None])[None]


@dataclass(frozen=True)
class Causal(Rule):
    """Oneself and whatever came before."""

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        return _up_to(queries, keys)


@dataclass(frozen=True)
class Window(Rule):
    """Positions less than `width` away, on both sides."""

    width: int

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        return (queries.positions[:, :, None] - keys.positions[:, None, :]).abs() < self.width


@dataclass(frozen=True)
class First(Rule):
    """The first `count` positions."""

    count: int

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        return (keys.positions < self.count)[:, None, :].expand(-1, len(queries.slots), -1)


@dataclass(frozen=True, eq=False)
class Prefix(Rule):
    """The first `length` positions are seen by all (an int, or int `[B]`); beyond them, causal."""

    length: int | Tensor

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        length = self.length[:, None, None] if isinstance(self.length, Tensor) else self.length
        return _up_to(queries, keys) | (keys.positions[:, None, :] < length)


@dataclass(frozen=True, eq=False)
class Spans(Rule):
    """Two-way inside a span, causal elsewhere. `ids` `[B, S]`: the span of each slot, -1 for none."""

    ids: Tensor

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        q, k = self.ids[:, queries.slots, None], self.ids[:, None, keys.slots]
        return _up_to(queries, keys) | ((q == k) & (q >= 0))


@dataclass(frozen=True, eq=False)
class Order(Rule):
    """Seen is whoever's turn is not later. `rank` `[1 or B, S]`: when each slot's turn is."""

    rank: Tensor

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        return self.rank[:, None, keys.slots] <= self.rank[:, queries.slots, None]


@dataclass(frozen=True)
class InBlocks(Rule):
    """Positions of the same block of `width`."""

    width: int

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        return queries.positions[:, :, None] // self.width == keys.positions[:, None, :] // self.width


@dataclass(frozen=True)
class Columns(Rule):
    """Positions that are a multiple of `stride` away. Child et al. 2019, https://arxiv.org/abs/1904.10509"""

    stride: int

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        return (queries.positions[:, :, None] - keys.positions[:, None, :]) % self.stride == 0


@dataclass(frozen=True)
class Summaries(Rule):
    """The last `count` positions of every block of `stride`, and oneself (the same paper's fixed pattern)."""

    stride: int
    count: int

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        column = keys.positions % self.stride >= self.stride - self.count
        return column[:, None, :] | (queries.slots[:, None] == keys.slots[None, :])[None]


@dataclass(frozen=True)
class AnyOf(Rule):
    """What at least one of the rules allows."""

    rules: tuple[Rule, ...]

    def pairs(self, queries: Places, keys: Places) -> Pairs:
        seen = self.rules[0].pairs(queries, keys)
        for rule in self.rules[1:]:
            seen = seen | rule.pairs(queries, keys)
        return seen


CAUSAL = Causal()


def counted(real: Tensor | None, segments: Tensor | None) -> Int[Tensor, "batch time"]:
    """Positions over real tokens only, from 0 in each row and in each run of a segment."""
    if real is None:
        if segments is None:
            raise ValueError("nothing to count")
        real = torch.ones_like(segments, dtype=torch.bool)
    count = real.long().cumsum(1)
    if segments is not None:
        begins = torch.ones_like(real)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        count = count - torch.where(begins, count - real.long(), 0).cummax(1).values
    return (count - 1).clamp_min(0)


def visible(tensor: Tensor) -> bool:
    """Whether the values can be looked at now (there are some, and nobody is tracing)."""
    return tensor.device.type != "meta" and not torch.compiler.is_compiling()


def right_padded(real: Tensor) -> bool:
    """Whether all padding stands behind the real tokens; False where the values cannot be looked at."""
    return visible(real) and bool((real[:, :-1] >= real[:, 1:]).all())
