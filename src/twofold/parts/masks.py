"""Which positions may see which: one small type, lowered to the cheapest form that says the same.

A mask is made by a named constructor and composed with `&`:

    Mask.causal() & Mask.padding(real)
    Mask.bidirectional() & Mask.segments(documents)

Conventions, everywhere: `True` means real (padding) or may be seen (pairs). *Slots* are places in the tensor, padding
included; *positions* count real tokens only, from 0. Causal order is order of slots, so it is never in doubt; windows and
prefixes count positions, so padding does not shift them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError


@dataclass(frozen=True, eq=False)
class Places:
    """Where some tokens are: `slots` `[T]`, `positions` `[1 or B, T]`, `real` `[B, T]` (None: all), `segments` `[B, T]` or None."""

    slots: Tensor
    positions: Tensor
    real: Tensor | None = None
    segments: Tensor | None = None


class Rule(Protocol):
    """One condition on (query, key) pairs."""

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        """bool `[1 or B, T, S]`: which keys each query may see."""


def _after(queries: Places, keys: Places) -> Tensor:
    return (keys.slots[None, :] <= queries.slots[:, None])[None]


@dataclass(frozen=True)
class Causal:
    """Oneself and whatever came before."""

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        return _after(queries, keys)


@dataclass(frozen=True)
class Window:
    """Positions at most `width - 1` away (on both sides; with causal: the last `width` positions, oneself included)."""

    width: int

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        return (queries.positions[:, :, None] - keys.positions[:, None, :]).abs() < self.width


@dataclass(frozen=True, eq=False)
class Prefix:
    """The first `length` positions are seen by all; beyond them, causal."""

    length: int | Tensor

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        length = self.length[:, None, None] if isinstance(self.length, Tensor) else self.length
        return _after(queries, keys) | (keys.positions[:, None, :] < length)


@dataclass(frozen=True, eq=False)
class Spans:
    """Two-way inside a span, causal elsewhere. `ids` `[B, S]`: the span of each slot, -1 for none."""

    ids: Tensor

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        q, k = self.ids[:, queries.slots, None], self.ids[:, None, keys.slots]
        return _after(queries, keys) | ((q == k) & (q >= 0))


@dataclass(frozen=True, eq=False)
class Order:
    """Seen is whoever comes no later in a given order. `rank` `[B, S]`: when each slot's turn is."""

    rank: Tensor

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        return self.rank[:, None, keys.slots] <= self.rank[:, queries.slots, None]


CAUSAL = Causal()


@dataclass(frozen=True, eq=False)
class Mask:
    """Who may see whom, and where everybody is.

    Attributes:
        rules: conditions that must all hold.
        pad: bool `[B, T]`, True where the token is real; None: all are.
        segment_ids: int `[B, T]`, the packed document of each token; documents do not see each other.
        pairs: bool `[T, S]` or `[B, 1 or H, T, S]` where no rule can say it.
        positions: int `[B, T]`, given positions instead of counted ones.
        memory: `[B, S, D]` states of another stack for cross-attention, with `memory_pad` bool `[B, S]`.

    With a cache, all of them speak of the new tokens only (`pairs` has one column for every token so far).
    """

    rules: tuple[Rule, ...] = ()
    pad: Tensor | None = None
    segment_ids: Tensor | None = None
    pairs: Tensor | None = None
    positions: Tensor | None = None
    memory: Tensor | None = None
    memory_pad: Tensor | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False)

    # -- constructors

    @classmethod
    def of(cls, mask: Mask | Tensor | None) -> Mask:
        """A mask from whatever a mixer accepts: None (no condition), a bool `[B, T]` (padding), a mask.

        Raises:
            UserError: a tensor that is not bool or not `[B, T]`.
        """
        if mask is None:
            return ANYTHING
        return mask if isinstance(mask, Mask) else cls.padding(mask)

    @classmethod
    def bidirectional(cls) -> Mask:
        """Everybody sees everybody."""
        return ANYTHING

    @classmethod
    def causal(cls) -> Mask:
        """Everybody sees oneself and what came before."""
        return _CAUSAL

    @classmethod
    def window(cls, width: int) -> Mask:
        """Positions less than `width` away."""
        if width < 1:
            raise UserError(f"a window is at least 1 wide, not {width}")
        return cls(rules=(Window(width),))

    @classmethod
    def prefix(cls, length: int | Int[Tensor, "batch"]) -> Mask:
        """The first `length` positions (one number, or one for each row) are seen by all; beyond them, causal."""
        return cls(rules=(Prefix(length),))

    @classmethod
    def spans(cls, ids: Int[Tensor, "batch slots"]) -> Mask:
        """Two-way inside each span, causal elsewhere; id -1: in no span. Covers every slot, cached ones included."""
        return cls(rules=(Spans(ids),))

    @classmethod
    def any_order(cls, rank: Int[Tensor, "*batch slots"]) -> Mask:
        """A token sees those whose rank is not above its own: autoregression in the order of `rank`."""
        return cls(rules=(Order(rank if rank.ndim == 2 else rank[None]),))

    @classmethod
    def segments(cls, ids: Int[Tensor, "batch time"]) -> Mask:
        """Packed documents: tokens see only their own; positions start at 0 in each (ids stand in runs)."""
        return cls(segment_ids=ids)

    @classmethod
    def allowed(cls, pairs: Bool[Tensor, "..."]) -> Mask:
        """Any pattern: bool `[T, S]` or `[B, 1 or H, T, S]`."""
        if pairs.dtype != torch.bool or pairs.ndim not in (2, 4):
            raise UserError(
                f"allowed pairs are bool [T, S] or [B, H, T, S], not {_says(pairs)}; compare with == or > to get bool"
            )
        return cls(pairs=pairs)

    @classmethod
    def padding(cls, real: Bool[Tensor, "batch time"]) -> Mask:
        """True where a token is real. Rows without any padding cost nothing."""
        if real.dtype != torch.bool or real.ndim != 2:
            raise UserError(f"a padding mask is bool [batch, time], True = real, not {_says(real)}; use ids != pad")
        if _known(real) and bool(real.all()):
            return ANYTHING
        return cls(pad=real)

    @classmethod
    def remember(
        cls, memory: Float[Tensor, "batch source dim"], real: Bool[Tensor, "batch source"] | None = None
    ) -> Mask:
        """States for cross-attention to read."""
        if real is not None and _known(real) and bool(real.all()):
            real = None
        return cls(memory=memory, memory_pad=real)

    def at(self, positions: Int[Tensor, "batch time"]) -> Mask:
        """The same mask with given positions."""
        return replace(self, positions=positions)

    def __and__(self, other: Mask) -> Mask:
        """Both conditions. Positions or memory may come from one side only."""
        if self is ANYTHING or self is other:
            return other
        if other is ANYTHING:
            return self
        rules = self.rules + tuple(r for r in other.rules if r not in self.rules)
        segments = self.segment_ids if other.segment_ids is None else other.segment_ids
        if self.segment_ids is not None and other.segment_ids is not None:
            segments = self.segment_ids * (other.segment_ids.max() + 1) + other.segment_ids
        return Mask(
            rules=rules,
            pad=_both(self.pad, other.pad),
            segment_ids=segments,
            pairs=_both(self.pairs, other.pairs),
            positions=_one("positions", self.positions, other.positions),
            memory=_one("memory", self.memory, other.memory),
            memory_pad=_one("memory_pad", self.memory_pad, other.memory_pad),
        )

    # -- what parts read

    @property
    def is_causal(self) -> bool:
        """Whether nobody sees what comes later."""
        return CAUSAL in self.rules

    def made_causal(self) -> Mask:
        """This and causal. (One object for all layers, so that they share what they derive.)"""
        if self.is_causal:
            return self
        return _CAUSAL if self is ANYTHING else self.keep("causal", lambda: self & _CAUSAL)

    def real(self, x: Tensor) -> Tensor:
        """bool `[B, T]`, also where no padding was given; `x` is `[B, T, ...]`."""
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if self.pad is None else self.pad

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """`make()`, once for this mask: the layers of a stack share what they derive from it."""
        value = self._kept.get(key)
        if value is None:
            if len(self._kept) >= 8:  # the shared masks live long and meet many lengths
                self._kept.clear()
            value = self._kept[key] = make()
        return value

    def places(self, time: int, device: torch.device) -> Places:
        """Where the tokens of a whole sequence are (no cache).

        Raises:
            UserError: an empty sequence, or a mask of another length.
        """
        if time < 1:
            raise UserError("the sequence is empty; give at least one token")
        for name, given in (("padding", self.pad), ("segments", self.segment_ids), ("positions", self.positions)):
            if given is not None and given.shape[1] != time:
                raise UserError(f"the mask's {name} has length {given.shape[1]}, the sequence {time}; they must agree")
        return self.keep(("places", time, device), lambda: self._places(time, device))

    def _places(self, time: int, device: torch.device) -> Places:
        slots = torch.arange(time, device=device)
        positions = slots[None] if self.positions is None else self.positions
        if self.positions is None and (self.pad is not None or self.segment_ids is not None):
            positions = counted(self.pad, self.segment_ids)
        return Places(slots, positions, self.pad, self.segment_ids)

    def lower(self, queries: Places, keys: Places) -> tuple[bool, Tensor | None]:
        """The cheapest form for a kernel: whether its causal flag says it all, else a bool `[1 or B, 1 or H, T, S]` or None.

        Behind right padding, what padded queries see does not matter, so the causal flag alone serves there too.
        """
        time, sources = len(queries.slots), len(keys.slots)
        if self.pairs is not None or keys.segments is not None or self.rules not in ((), (CAUSAL,)):
            if keys is queries:
                return False, self.keep(("dense", time), lambda: self._dense(queries, keys))
            return False, self._dense(queries, keys)
        if self.rules and time > 1:
            if time == sources and (keys.real is None or right_padded(keys.real)):
                return True, None
            if keys is queries:
                return False, self.keep(("dense", time), lambda: self._dense(queries, keys))
            return False, self._dense(queries, keys)
        return False, None if keys.real is None else keys.real[:, None, None, :]

    def dense(self, queries: Places, keys: Places) -> Bool[Tensor, "batch heads time sources"]:
        """The same as one bool tensor `[1 or B, 1 or H, T, S]`."""
        return self._dense(queries, keys)

    def _dense(self, queries: Places, keys: Places) -> Tensor:
        device = keys.slots.device
        seen = torch.ones((1, len(queries.slots), len(keys.slots)), dtype=torch.bool, device=device)
        for rule in self.rules:
            seen = seen & rule.pairs(queries, keys)
        if keys.real is not None:
            seen = seen & keys.real[:, None, :]
        if keys.segments is not None:
            assert queries.segments is not None
            seen = seen & (queries.segments[:, :, None] == keys.segments[:, None, :])
        return seen[:, None] if self.pairs is None else seen[:, None] & self.pairs


def counted(real: Tensor | None, segments: Tensor | None) -> Tensor:
    """Positions `[B, T]` over real tokens only, from 0 in each row and in each run of a segment."""
    if real is None:
        assert segments is not None
        real = torch.ones_like(segments, dtype=torch.bool)
    count = real.long().cumsum(1)
    if segments is not None:
        begins = torch.ones_like(real)
        begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
        before = torch.where(begins, count - real.long(), 0).cummax(1).values
        count = count - before
    return (count - 1).clamp_min(0)


def right_padded(real: Tensor) -> bool:
    """Whether all padding stands behind the real tokens; False where the values cannot be looked at."""
    return _known(real) and bool((real[:, :-1] >= real[:, 1:]).all())


def _known(tensor: Tensor) -> bool:
    return tensor.device.type != "meta" and not torch.compiler.is_compiling()


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a & b


def _one(name: str, a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is not None and b is not None and a is not b:
        raise UserError(f"both masks bring {name}; give it to one of them")
    return b if a is None else a


def _says(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


ANYTHING = Mask()
_CAUSAL = Mask(rules=(CAUSAL,))
