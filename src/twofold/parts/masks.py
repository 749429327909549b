"""Which positions may see which: one small type, lowered to the cheapest form that says the same.

A mask is made by a named constructor and composed with `&`:

    Mask.causal() & Mask.padding(real)
    Mask.bidirectional() & Mask.segments(documents)

Conventions, everywhere: `True` means real (padding) or may be seen (pairs). *Slots* are places in the tensor,
padding included; *positions* count real tokens only, from 0. Causal order is order of slots, so it is never in
doubt; windows and prefixes count positions, so padding does not shift them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.rules import (
    CAUSAL,
    AnyOf,
    First,
    Order,
    Places,
    Prefix,
    Rule,
    Spans,
    Window,
    counted,
    right_padded,
    visible,
)


@dataclass(frozen=True, eq=False)
class Mask:
    """Who may see whom, and where everybody is.

    With a cache, all of it speaks of the new tokens only (`pairs` has a column for every token so far).

    Attributes:
        rules: conditions that must all hold.
        pad: bool `[B, T]`, True where the token is real; None: all are.
        segment_ids: int `[B, T]`, the packed document of each token; documents do not see each other.
        pairs: bool `[T, S]` or `[B, 1 or H, T, S]`, where no rule can say it.
        positions: int `[B, T]`, given positions instead of counted ones.
        memory: `[B, S, D]` states of another stack for cross-attention, with `memory_pad` bool `[B, S]`.
        counts: `[B, S]`, how many tokens each row stands for; attention adds the logarithm to the logits of its key.
    """

    rules: tuple[Rule, ...] = ()
    pad: Tensor | None = None
    segment_ids: Tensor | None = None
    pairs: Tensor | None = None
    positions: Tensor | None = None
    memory: Tensor | None = None
    memory_pad: Tensor | None = None
    counts: Tensor | None = None
    _kept: dict[Hashable, Any] | None = field(default=None, repr=False)

    # -- constructors

    @classmethod
    def of(cls, mask: Mask | Tensor | None) -> Mask:
        """A mask from whatever a mixer accepts: None (no condition), a bool `[B, T]` (padding), a mask.

        Raises:
            UserError: a tensor that is not bool or not `[B, T]`.
        """
        if mask is None:
            return _ANYTHING
        return mask if isinstance(mask, Mask) else cls.padding(mask)

    @classmethod
    def bidirectional(cls) -> Mask:
        """Everybody sees everybody."""
        return _ANYTHING

    @classmethod
    def causal(cls) -> Mask:
        """Everybody sees oneself and what came before."""
        return _CAUSAL

    @classmethod
    def window(cls, width: int, first: int = 0) -> Mask:
        """Positions less than `width` away (with causal: the last `width` positions, oneself included).

        The first `first` positions are seen from everywhere.
        """
        if width < 1:
            raise UserError(f"a window is at least 1 wide, not {width}")
        return cls(rules=(AnyOf((Window(width), First(first))) if first else Window(width),))

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
        """A token sees itself and those whose turn came before its own: `rank` says when each slot's turn is."""
        return cls(rules=(Order(rank if rank.ndim == 2 else rank[None]),))

    @classmethod
    def segments(cls, ids: Int[Tensor, "batch time"]) -> Mask:
        """Packed documents: tokens see only their own; positions start at 0 in each (a document stands in one run)."""
        return cls(segment_ids=ids)

    @classmethod
    def allowed(cls, pairs: Tensor) -> Mask:
        """Any pattern: bool `[T, S]` or `[B, 1 or H, T, S]`."""
        if pairs.dtype != torch.bool or pairs.ndim not in (2, 4):
            raise UserError(
                f"allowed pairs are bool [T, S] or [B, H, T, S], not {_shown(pairs)}; compare with == or > to get bool"
            )
        return cls(pairs=pairs)

    @classmethod
    def padding(cls, real: Tensor) -> Mask:
        """bool `[B, T]`, True where a token is real. Without any padding it costs nothing."""
        if real.dtype != torch.bool or real.ndim != 2:
            raise UserError(f"a padding mask is bool [batch, time], True = real, not {_shown(real)}; use ids != pad")
        return _ANYTHING if visible(real) and bool(real.all()) else cls(pad=real)

    @classmethod
    def remember(
        cls, memory: Float[Tensor, "batch source dim"], real: Bool[Tensor, "batch source"] | None = None
    ) -> Mask:
        """States for cross-attention to read, and which of them are real."""
        if real is not None and visible(real) and bool(real.all()):
            real = None
        return cls(memory=memory, memory_pad=real)

    def at(self, positions: Int[Tensor, "batch time"]) -> Mask:
        """The same mask with given positions."""
        return replace(self, positions=positions, _kept=None)

    def __and__(self, other: Mask) -> Mask:
        """Both conditions. Positions, segments and memory may come from one side only."""
        if self is _ANYTHING or self is other:
            return other
        if other is _ANYTHING:
            return self
        return Mask(
            rules=self.rules + tuple(r for r in other.rules if r not in self.rules),
            pad=_both(self.pad, other.pad),
            segment_ids=_one("segments", self.segment_ids, other.segment_ids),
            pairs=_both(self.pairs, other.pairs),
            positions=_one("positions", self.positions, other.positions),
            memory=_one("memory", self.memory, other.memory),
            memory_pad=_one("memory padding", self.memory_pad, other.memory_pad),
            counts=_one("counts", self.counts, other.counts),
        )

    # -- what parts read

    @property
    def is_causal(self) -> bool:
        """Whether nobody sees what comes later."""
        return CAUSAL in self.rules

    def real(self, x: Tensor) -> Bool[Tensor, "batch time"]:
        """Which tokens of `x` `[B, T, ...]` are real, also where no padding was given."""
        return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if self.pad is None else self.pad

    def for_pass(self) -> Mask:
        """The mask for one forward pass, whose layers then share what they derive from it."""
        return self if self._kept is not None else replace(self, _kept={})

    def made_causal(self) -> Mask:
        """This, and causal."""
        if self.is_causal:
            return self
        return self.keep("causal", lambda: replace(self & _CAUSAL, _kept=None if self._kept is None else {}))

    def two_way(self, part: str, instead: str) -> Mask:
        """This, for a part that mixes each whole document at once.

        Args:
            part: which it is, for the message.
            instead: what to use under other masks, likewise.

        Raises:
            UserError: the mask hides more than padding and other documents, which the part would see all the same.
        """
        if self.rules or self.pairs is not None:
            hides = "a causal mask" if self.is_causal else "a mask that hides some tokens from others"
            raise UserError(f"{part} looks to both sides and got {hides}; use {instead}")
        return self

    def within(self, width: int) -> Mask:
        """This, and a window."""
        return self.keep(
            ("within", width), lambda: replace(self & Mask.window(width), _kept=None if self._kept is None else {})
        )

    def also(self, rule: Rule) -> Mask:
        """This, and one more rule."""
        return self.keep(
            ("also", rule), lambda: replace(self & Mask(rules=(rule,)), _kept=None if self._kept is None else {})
        )

    def keep(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """`make()`, once for each pass."""
        if self._kept is None:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def check(self, batch: int, time: int) -> None:
        """Refuses an empty input and a mask that belongs to another one (UserError)."""
        if time < 1:
            raise UserError("the sequence is empty; give at least one token")
        told = (
            ("padding", self.pad),
            ("segments", self.segment_ids),
            ("positions", self.positions),
            ("counts", self.counts),
        )
        for name, given in told:
            if given is not None and (given.shape[1] != time or given.shape[0] not in (1, batch)):
                raise UserError(
                    f"the mask's {name} is {list(given.shape)} and the input [{batch}, {time}]; they must agree"
                )

    def places(self, batch: int, time: int, device: torch.device) -> Places:
        """Where the tokens of a whole sequence are (no cache). Raises as `check` does."""
        self.check(batch, time)

        def make() -> Places:
            slots = torch.arange(time, device=device)
            positions = self.positions
            if positions is None:
                plain = self.pad is None and self.segment_ids is None
                positions = slots[None] if plain else counted(self.pad, self.segment_ids)
            return Places(slots, positions, self.pad, self.segment_ids)

        return self.keep(("places", time), make)

    def lower(self, queries: Places, keys: Places) -> tuple[bool, Tensor | None]:
        """The cheapest form for a kernel: whether its causal flag says it all; else bool `[B, H, T, S]`, or None.

        Behind right padding it does not matter what padded queries see, so the causal flag serves there too.
        """
        if self.pairs is None and keys.segments is None and self.rules in ((), (CAUSAL,)):
            time, sources = len(queries.slots), len(keys.slots)
            if not self.rules or time == 1:
                return False, None if keys.real is None else keys.real[:, None, None, :]
            real = keys.real
            if time == sources and (real is None or self.keep(("right", keys), lambda: right_padded(real))):
                return True, None
        return False, self.dense(queries, keys)

    def dense(self, queries: Places, keys: Places) -> Bool[Tensor, "rows heads time sources"]:
        """The same as one bool tensor `[1 or B, 1 or H, T, S]`."""
        return self.keep(("dense", queries, keys), lambda: self._dense(queries, keys))

    def _dense(self, queries: Places, keys: Places) -> Tensor:
        shape = (1, len(queries.slots), len(keys.slots))
        seen = torch.ones(shape, dtype=torch.bool, device=keys.slots.device)
        for rule in self.rules:
            seen = seen & rule.pairs(queries, keys)
        if keys.real is not None:
            seen = seen & keys.real[:, None, :]
        if keys.segments is not None and queries.segments is not None:
            seen = seen & (queries.segments[:, :, None] == keys.segments[:, None, :])
        return seen[:, None] if self.pairs is None else seen[:, None] & self.pairs


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a & b


def _one(name: str, a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is not None and b is not None and a is not b:
        raise UserError(f"both masks bring {name}; give it to one of them")
    return b if a is None else a


def _shown(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


_ANYTHING = Mask()
_CAUSAL = Mask(rules=(CAUSAL,))
