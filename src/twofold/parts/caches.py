"""What a network remembers between calls, updated in place. For inference: gradients do not flow through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.masks import Mask
from twofold.parts.rules import Places, counted

Growth = Literal["const", "window", "linear"]


class Cache:
    """Base of every cache.

    Attributes:
        length: tokens remembered so far (padding included).
        growth: how `nbytes` grows with `length`.
        back: how many tokens `rewind` takes back at any time, if they came in calls of at most so many; None: all.
    """

    growth: Growth = "const"
    length: int = 0
    back: int | None = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the remembered tokens take (not what was set aside for more)."""
        raise NotImplementedError

    def bytes_at(self, length: int) -> int:
        """What a fresh cache would hold after `length` tokens, in bytes; found without running the network. Afterwards
        the cache is of no use."""
        self.length = length
        return self.nbytes

    def rewind(self, n: int) -> None:
        """Forgets the last `n` tokens.

        Raises:
            UserError: as `check_rewind`; the cache is as it was.
        """
        self.check_rewind(n)
        raise NotImplementedError

    def check_rewind(self, n: int) -> None:
        """Refuses what `rewind` cannot do.

        Raises:
            UserError: more tokens than there are, or a cache that cannot go back so far.
        """
        raise UserError(f"{type(self).__name__} cannot be rewound; keep a copy of it instead")

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        """Row `i` becomes what row `index[i]` was (beams); the number of rows may change."""
        raise NotImplementedError

    def branch(self, paths: Int[Tensor, "batch kept"], tail: int) -> None:
        """Of the last `tail` tokens keeps, in each row, those at `paths` (0: the first of them); forgets the others."""
        raise UserError(f"{type(self).__name__} cannot keep one branch of a tree of drafts")


class Ledger:
    """Where the tokens of a growing sequence are. Holds nothing while all are real and positions are counted from 0."""

    def __init__(self, max_len: int) -> None:
        self.max_len = max_len
        self.real: Tensor | None = None
        self.segments: Tensor | None = None
        self.positions: Tensor | None = None

    def place(self, start: int, batch: int, time: int, mask: Mask, device: torch.device) -> tuple[Places, Places]:
        """Notes `time` new tokens at slot `start`; returns the places of the new tokens and of all so far.

        Raises:
            UserError: an empty input, a mask of another shape, or more tokens than `max_len`.
        """

        def make() -> tuple[Places, Places]:
            mask.check(batch, time)
            stop = start + time
            if stop > self.max_len:
                raise UserError(
                    f"the cache holds {self.max_len} tokens and {stop} are needed; make it with max_len={stop} or more"
                )
            self._note(start, stop, batch, mask)
            keys = self._upto(stop, device)
            return _after(keys, start), keys

        # The layers of a stack share one ledger and, within a pass, one mask.
        return mask.keep(("cached", id(self), start, time), make)

    def _upto(self, stop: int, device: torch.device) -> Places:
        slots = torch.arange(stop, device=device)
        real = None if self.real is None else self.real[:, :stop]
        segments = None if self.segments is None else self.segments[:, :stop]
        if self.positions is not None:
            positions = self.positions[:, :stop]
        else:
            positions = slots[None] if real is None and segments is None else counted(real, segments)
        return Places(slots, positions, real, segments)

    def _note(self, start: int, stop: int, batch: int, mask: Mask) -> None:
        """Writes what the mask says of the new tokens; what it leaves out is real, of the last segment, one further."""
        if mask.positions is not None and self.positions is None:
            self._set_positions(batch, start, mask.positions.device)
        if mask.pad is not None and self.real is None:
            self.real = mask.pad.new_ones(batch, self.max_len)
        if mask.segment_ids is not None and self.segments is None:
            self.segments = mask.segment_ids.new_zeros(batch, self.max_len)
        if self.real is not None:
            self.real[:, start:stop] = True if mask.pad is None else mask.pad
        if self.segments is not None:
            last = self.segments[:, max(start - 1, 0) : max(start, 1)]
            self.segments[:, start:stop] = last if mask.segment_ids is None else mask.segment_ids
        if self.positions is not None and mask.positions is not None:
            self.positions[:, start:stop] = mask.positions
        elif self.positions is not None:
            new = self.positions.new_ones(batch, stop - start) > 0 if mask.pad is None else mask.pad
            self.positions[:, start:stop] = self._next(start) + counted(new, None)

    def _next(self, start: int) -> Tensor | int:
        """The position behind all real tokens so far, `[B, 1]`."""
        if self.positions is None or start == 0:
            return 0
        before = self.positions[:, :start]
        if self.real is not None:
            before = before.masked_fill(~self.real[:, :start], -1)
        return before.amax(1, keepdim=True) + 1

    def _set_positions(self, batch: int, stop: int, device: torch.device) -> None:
        """From counted to noted positions."""
        noted = torch.zeros(batch, self.max_len, dtype=torch.long, device=device)
        noted[:, :stop] = self._upto(stop, device).positions
        self.positions = noted

    def reorder(self, index: Tensor) -> None:
        for name in ("real", "segments", "positions"):
            held = getattr(self, name)
            if held is not None:
                setattr(self, name, held.index_select(0, index.to(held.device)))

    def branch(self, slots: Tensor, start: int, stop: int) -> None:
        """Moves what is noted of `slots` `[B, kept]` to `start` and on; `stop` is the length so far."""
        if self.positions is None:  # tokens keep the positions that they came with
            self._set_positions(len(slots), stop, slots.device)
        for held in (self.real, self.segments, self.positions):
            if held is not None:
                held[:, start : start + slots.shape[1]] = held.gather(1, slots)


def _after(places: Places, start: int) -> Places:
    real = None if places.real is None else places.real[:, start:]
    segments = None if places.segments is None else places.segments[:, start:]
    return Places(places.slots[start:], places.positions[:, start:], real, segments)


class KeyValueCache(Cache):
    """Keys and values `[B, G, max_len, d]`, set aside once and filled in place.

    Raises:
        UserError: on use, when `max_len` does not suffice.
    """

    growth: Growth = "linear"
    back: int | None = None

    def __init__(
        self,
        batch: int,
        heads: int,
        max_len: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch, heads, max_len, head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.ledger, self._owner = Ledger(max_len), True
        self.length = 0

    @property
    def nbytes(self) -> int:
        batch, heads, _, head_dim = self.keys.shape
        return 2 * batch * heads * self.length * head_dim * self.keys.element_size()

    def place(self, batch: int, time: int, mask: Mask) -> tuple[Places, Places]:
        """Where `time` new tokens stand, and all tokens with them."""
        return self.ledger.place(self.length, batch, time, mask, self.keys.device)

    def join(self, ledger: Ledger) -> None:
        """Leaves the book-keeping to a ledger that several caches share (whose owner then reorders it)."""
        self.ledger, self._owner = ledger, False

    def append(
        self, keys: Float[Tensor, "batch groups time d"], values: Float[Tensor, "batch groups time d"]
    ) -> tuple[Tensor, Tensor]:
        """Adds the new tokens' keys and values; returns all of them, `[B, G, S, d]`, as views."""
        if keys.shape[0] != self.keys.shape[0]:
            rows, own = keys.shape[0], self.keys.shape[0]
            raise UserError(f"the cache was made for {own} rows and got {rows}; make it with batch={rows}")
        stop = self.length + keys.shape[2]
        self.keys[:, :, self.length : stop] = keys
        self.values[:, :, self.length : stop] = values
        self.length = stop
        return self.keys[:, :, :stop].to(keys.dtype), self.values[:, :, :stop].to(values.dtype)

    def check_rewind(self, n: int) -> None:
        if not 0 <= n <= self.length:
            raise UserError(f"cannot rewind {n} tokens of {self.length}")

    def rewind(self, n: int) -> None:
        self.check_rewind(n)
        self.length -= n

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        index = index.to(self.keys.device)
        self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)
        if self._owner:
            self.ledger.reorder(index)

    def branch(self, paths: Int[Tensor, "batch kept"], tail: int) -> None:
        start = self.length - tail
        if start < 0 or paths.shape[1] > tail:
            raise UserError(f"cannot keep {paths.shape[1]} of the last {tail} tokens of {self.length}")
        slots = paths.to(self.keys.device) + start
        kept = slots.shape[1]
        index = slots[:, None, :, None].expand(-1, self.keys.shape[1], -1, self.keys.shape[3])
        for held in (self.keys, self.values):
            held[:, :, start : start + kept] = held.gather(2, index)
        if self._owner:
            self.ledger.branch(slots, start, self.length)
        self.length = start + kept


class WindowCache(KeyValueCache):
    """Keys and values of the last tokens alone, for attention that sees less than `width` slots back.

    A few older ones are kept too, so that the last tokens can be taken back. Padding between real tokens takes up
    places.

    Args:
        width: slots that the newest token sees, its own included.
        back: how many tokens may be taken back.
    """

    growth: Growth = "window"

    def __init__(
        self,
        batch: int,
        heads: int,
        max_len: int,
        head_dim: int,
        width: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        back: int = 16,
    ) -> None:
        super().__init__(batch, heads, 0, head_dim, dtype, device)
        self.ledger = Ledger(max_len)
        self.width, self.size, self.back = width, width - 1 + back, back

    @property
    def held(self) -> int:
        """How many tokens are remembered."""
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes

    def bytes_at(self, length: int) -> int:
        batch, heads, _, head_dim = self.keys.shape
        return 2 * batch * heads * head_dim * self.keys.element_size() * min(length, self.size)

    def place(self, batch: int, time: int, mask: Mask) -> tuple[Places, Places]:
        start = self.length
        queries, keys = super().place(batch, time, mask)
        first = start - self.held

        def cut() -> tuple[Places, Places]:
            return queries, _after(keys, first) if first else keys

        return mask.keep(("window", id(self.ledger), start, time, first), cut)

    def append(
        self, keys: Float[Tensor, "batch groups time d"], values: Float[Tensor, "batch groups time d"]
    ) -> tuple[Tensor, Tensor]:
        if keys.shape[0] != self.keys.shape[0]:
            rows, own = keys.shape[0], self.keys.shape[0]
            raise UserError(f"the cache was made for {own} rows and got {rows}; make it with batch={rows}")
        whole = [torch.cat((held.to(new.dtype), new), 2) for held, new in ((self.keys, keys), (self.values, values))]
        self.length += keys.shape[2]
        dtype = self.keys.dtype
        self.keys, self.values = (x[:, :, -self.size :].to(dtype) if self.size else x[:, :, :0] for x in whole)
        return whole[0], whole[1]

    def check_rewind(self, n: int) -> None:
        super().check_rewind(n)
        if self.held - n < min(self.length - n, self.width - 1):
            raise UserError(
                f"cannot rewind {n} tokens: a window's cache keeps the last {self.held} of {self.length} and needs "
                f"{self.width - 1} of them; keep a copy of the cache instead"
            )

    def rewind(self, n: int) -> None:
        self.check_rewind(n)
        keep = self.held - n
        self.keys, self.values = self.keys[:, :, :keep], self.values[:, :, :keep]
        self.length -= n

    def branch(self, paths: Int[Tensor, "batch kept"], tail: int) -> None:
        kept = paths.shape[1]
        if tail > self.held or kept > tail:
            raise UserError(f"cannot keep {kept} of the last {tail} tokens: a window's cache keeps {self.held}")
        index = (paths.to(self.keys.device) + self.held - tail)[:, None, :, None]
        index = index.expand(-1, self.keys.shape[1], -1, self.keys.shape[3])
        keys, values = self.keys.gather(2, index), self.values.gather(2, index)
        if self._owner:
            slots = paths.to(self.keys.device) + self.length - tail
            self.ledger.branch(slots, self.length - tail, self.length)
        self.rewind(tail)
        self.append(keys, values)


class MemoryCache(Cache):
    """Keys and values of a memory that does not change while a sequence grows beside it."""

    growth: Growth = "const"
    back: int | None = None

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.pad: Tensor | None = None
        self.length = 0

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in (self.keys, self.values) if t is not None)

    def check_rewind(self, n: int) -> None:
        if not 0 <= n <= self.length:
            raise UserError(f"cannot rewind {n} tokens of {self.length}")

    def rewind(self, n: int) -> None:
        self.check_rewind(n)
        self.length -= n

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        for name in ("keys", "values", "pad"):
            held = getattr(self, name)
            if held is not None:
                setattr(self, name, held.index_select(0, index.to(held.device)))

    def branch(self, paths: Int[Tensor, "batch kept"], tail: int) -> None:
        self.length -= tail - paths.shape[1]


class ConvCache(Cache):
    """The inputs of the last `width` tokens `[B, width, D]`, which a short convolution still sees.

    A few older ones are kept too, so that the last tokens can be taken back.

    Args:
        width: tokens that the convolution sees beside the newest.
        back: how many tokens may be taken back.
    """

    growth: Growth = "const"
    back: int

    def __init__(
        self,
        batch: int,
        dim: int,
        width: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        back: int = 16,
    ) -> None:
        self.width, self.back = width, back
        self.held = torch.zeros(batch, width + back, dim, dtype=dtype, device=device)
        self.segments = torch.zeros(batch, width + back, dtype=torch.long, device=device)
        self.length = self._room = 0

    @property
    def nbytes(self) -> int:
        return self.held.nbytes

    def append(
        self, x: Float[Tensor, "batch time dim"], segments: Int[Tensor, "batch time"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Adds new inputs (and their packed documents; the last one's goes on where none are given).

        Returns:
            The last `width` inputs with the new ones behind them, `[B, width + T, D]`, and their documents.

        Raises:
            UserError: another number of rows than it was made for.
        """
        if len(x) != len(self.held):
            raise UserError(
                f"the cache was made for {len(self.held)} rows and got {len(x)}; make it with batch={len(x)}"
            )
        if segments is None:
            segments = self.segments[:, -1:].expand(-1, x.shape[1])
        whole = torch.cat((self.held.to(x.dtype), x), 1)
        documents = torch.cat((self.segments, segments.expand(len(x), -1)), 1)
        size = self.width + self.back
        self.held, self.segments = whole[:, -size:].to(self.held.dtype), documents[:, -size:]
        self.length += x.shape[1]
        self._room = min(self.back, self._room + x.shape[1])
        return whole[:, self.back :], documents[:, self.back :]

    def check_rewind(self, n: int) -> None:
        if not 0 <= n <= self._room:
            raise UserError(
                f"cannot rewind {n} tokens: a convolution's cache keeps the last {self._room} of {self.length}; "
                "keep a copy of the cache instead"
            )

    def rewind(self, n: int) -> None:
        self.check_rewind(n)
        keep = self.held.shape[1] - n
        self.held = torch.cat((torch.zeros_like(self.held[:, :n]), self.held[:, :keep]), 1)
        self.segments = torch.cat((torch.zeros_like(self.segments[:, :n]), self.segments[:, :keep]), 1)
        self.length, self._room = self.length - n, self._room - n

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        index = index.to(self.held.device)
        self.held, self.segments = self.held.index_select(0, index), self.segments.index_select(0, index)

    def branch(self, paths: Int[Tensor, "batch kept"], tail: int) -> None:
        slots = paths.to(self.held.device) + self.held.shape[1] - tail
        kept = self.held.gather(1, slots[..., None].expand(-1, -1, self.held.shape[2]))
        documents = self.segments.gather(1, slots)
        self.rewind(tail)
        self.append(kept, documents)


class StackCache(Cache):
    """The caches of a stack's layers (None for a layer that keeps nothing), as one."""

    def __init__(self, layers: Sequence[Cache | None], max_len: int) -> None:
        self.layers = list(layers)
        self.ledger = Ledger(max_len)
        self.length = 0
        for layer in self.layers:
            if isinstance(layer, KeyValueCache):
                layer.join(self.ledger)

    @property
    def growth(self) -> Growth:  # type: ignore[override]
        """The fastest growth among the layers."""
        found = {layer.growth for layer in self.layers if layer is not None}
        return "linear" if "linear" in found else "window" if "window" in found else "const"

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers if layer is not None)

    def bytes_at(self, length: int) -> int:
        return sum(layer.bytes_at(length) for layer in self.layers if layer is not None)

    @property
    def back(self) -> int | None:  # type: ignore[override]
        """What the layer that goes back least can do."""
        return min(
            (own for layer in self.layers if layer is not None and (own := layer.back) is not None), default=None
        )

    def check_rewind(self, n: int) -> None:
        if not 0 <= n <= self.length:
            raise UserError(f"cannot rewind {n} tokens of {self.length}")
        for layer in self.layers:
            if layer is not None:
                layer.check_rewind(n)

    def rewind(self, n: int) -> None:
        self.check_rewind(n)
        for layer in self.layers:
            if layer is not None:
                layer.rewind(n)
        self.length -= n

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        for layer in self.layers:
            if layer is not None:
                layer.reorder(index)
        self.ledger.reorder(index)

    def branch(self, paths: Int[Tensor, "batch kept"], tail: int) -> None:
        for layer in self.layers:
            if layer is not None:
                layer.branch(paths, tail)
        start = self.length - tail
        self.ledger.branch(paths + start, start, self.length)
        self.length = start + paths.shape[1]
