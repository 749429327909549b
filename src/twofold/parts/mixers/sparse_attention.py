"""Attention over a fixed pattern of pairs: blocks of neighbours, columns of a grid, columns of summaries.

Blocks and columns are worked off by folding: what does not meet is never multiplied. Positions count real tokens, so
padding on the left shifts no pattern.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, WindowCache
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.positions import Position, Rope
from twofold.parts.rules import CAUSAL, AnyOf, Columns, InBlocks, Places, Rule, Summaries, Window

_COUNTED = 512  # queries whose pairs are counted at a time
_KEPT = 1 << 20  # logits that are written and read while they are in the cache


class RuledAttention(Attention, abstract=True):
    """Attention that sees the pairs of one more rule. Kinds differ in `seen` and in what they can fold."""

    @property
    def seen(self) -> Rule:
        """Which pairs, beside what the mask says."""
        raise NotImplementedError

    def pairs(self, time: int) -> int:
        """How many pairs are seen, in a whole sequence without padding."""
        slots, total = torch.arange(time), 0
        keys = Places(slots, slots[None])
        for some in slots.split(_COUNTED):
            queries = Places(some, some[None])
            found = self.seen.pairs(queries, keys)
            if self.causal == "yes":
                found = found & CAUSAL.pairs(queries, keys)
            total += int(found.count_nonzero())
        return total

    def rule(self, mask: AnyMask) -> Mask:
        return super().rule(mask).also(self.seen)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        folded = None
        plain = mask.pairs is None and mask.positions is None and keys.real is None and keys.segments is None
        if queries is keys and plain and set(mask.rules) <= {CAUSAL, self.seen} and not self.position.after_softmax:
            folded = self.folded(self._scaled(q, queries), k, v, mask.is_causal, keys)
        return super().attend(q, k, v, mask, queries, keys) if folded is None else folded

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        """The same in pieces that do not meet, or None where it cannot be cut."""
        return None

    def pieces(self, qkv: Sequence[Tensor], causal: bool) -> Tensor:
        """Attention inside each piece: queries `[B, H, pieces, t, d]`, keys and values of G groups."""
        batch, count = qkv[0].shape[0], qkv[0].shape[2]
        q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in qkv)
        out = F.scaled_dot_product_attention(
            q, k, v, is_causal=causal, scale=self.scale, enable_gqa=self.kv_heads != self.heads
        )
        return out.unflatten(0, (batch, count)).transpose(1, 2)

    def cut(self, x: Tensor, width: int) -> Tensor:
        """Queries, keys or values of every head, in blocks filled with zeros: `[B, H, n, width, d]`."""
        x = x.repeat_interleave(self.heads // x.shape[1], dim=1)
        return F.pad(x, (0, 0, 0, -x.shape[2] % width)).unflatten(2, (-1, width))

    def foldable(self, time: int, entries: int, places: Places) -> bool:
        """Whether folding pays: entries a query that are few beside the length, and nothing added to every logit."""
        first = places.positions[:, :1]
        return 4 * entries <= time and self.position.bias(first, first) is None

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        whole = 4 * time * time * inner // (2 if self.causal == "yes" else 1)
        return super().flops(time) - whole + 4 * inner * self.pairs(time)


class BlockLocal(RuledAttention):
    """Attention inside consecutive blocks of `width` positions that do not overlap.

    Args:
        width: of a block; from the input's length on it is full attention.
    """

    spans = ("width",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"rope": cls(dim, 4, 4, position=Rope()), "causal": cls(dim, 4, 3, kv_heads=2, causal=True)}

    def __init__(
        self,
        dim: int,
        heads: int,
        width: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        position: Position | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        causal: bool | None = None,
        scale: float | None = None,
        linear: str = "dense",
    ) -> None:
        super().__init__(dim, heads, kv_heads, head_dim, position, bias, out_bias, causal, scale, linear)
        at_least_one("BlockLocal", width=width)
        self.width = width

    @property
    def seen(self) -> Rule:
        return InBlocks(self.width)

    def pairs(self, time: int) -> int:
        sizes = [self.width] * (time // self.width) + [time % self.width]
        return sum(n * (n + 1) // 2 if self.causal == "yes" else n * n for n in sizes)

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        time = q.shape[2]
        rest = -time % self.width
        if self.position.bias(places.positions[:, :1], places.positions[:, :1]) is not None or (rest and not causal):
            return None
        blocks = [F.pad(x, (0, 0, 0, rest)).unflatten(2, (-1, self.width)) for x in (q, k, v)]
        return self.pieces(blocks, causal).flatten(2, 3)[:, :, :time]

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        if self.causal == "no":
            return super().new_cache(batch, max_len, dtype, device)
        like = self.like()
        where = like.device if device is None else device
        return WindowCache(batch, self.kv_heads, max_len, self.head_dim, self.width, dtype or like.dtype, where)


class GridAttention(RuledAttention, abstract=True):
    """Positions as the places of a grid `stride` wide.

    Args:
        stride: positions in a row.
    """

    spans = ("stride",)

    def __init__(
        self,
        dim: int,
        heads: int,
        stride: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        position: Position | None = None,
        causal: bool | None = None,
    ) -> None:
        super().__init__(dim, heads, kv_heads, head_dim, position, causal=causal)
        at_least_one(type(self).__name__, stride=stride)
        self.stride = stride


class ColumnAttention(GridAttention):
    """Attention to every `stride`-th position, counted from oneself: a column of a grid `stride` wide.

    Args:
        stride: how far apart.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"rope": cls(dim, 4, 3, position=Rope()), "causal": cls(dim, 4, 4, kv_heads=2, causal=True)}

    @property
    def seen(self) -> Rule:
        return Columns(self.stride)

    def pairs(self, time: int) -> int:
        each = np.bincount(np.arange(time) % self.stride)
        return int((each * (each + 1) // 2 if self.causal == "yes" else each * each).sum())

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        time = q.shape[2]
        rest = -time % self.stride
        if self.position.bias(places.positions[:, :1], places.positions[:, :1]) is not None or (rest and not causal):
            return None
        columns = [F.pad(x, (0, 0, 0, rest)).unflatten(2, (-1, self.stride)).transpose(2, 3) for x in (q, k, v)]
        return self.pieces(columns, causal).transpose(2, 3).flatten(2, 3)[:, :, :time]


class SummaryAttention(RuledAttention):
    """Attention to the last `summary` positions of every block of `stride`, and to oneself.

    Args:
        stride: positions in a block.
        summary: how many at its end are seen from everywhere.
    """

    spans = ("stride",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"rope": cls(dim, 4, 4, 1, position=Rope()), "causal": cls(dim, 4, 4, 2, kv_heads=2, causal=True)}

    def __init__(
        self,
        dim: int,
        heads: int,
        stride: int,
        summary: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        position: Position | None = None,
        causal: bool | None = None,
    ) -> None:
        super().__init__(dim, heads, kv_heads, head_dim, position, causal=causal)
        _summary(stride, summary)
        self.stride, self.summary = stride, summary

    def within(self, span: str, longest: int) -> dict[str, int]:
        return {span: longest} | ({} if self.summary < longest else {"summary": longest - 1})

    @property
    def seen(self) -> Rule:
        return Summaries(self.stride, self.summary)

    def column(self, time: int) -> np.ndarray:
        """Which of so many positions are summaries."""
        return np.arange(time) % self.stride >= self.stride - self.summary

    def pairs(self, time: int) -> int:
        column = self.column(time)
        seen = column.cumsum() if self.causal == "yes" else np.full(time, column.sum())
        return int((seen + ~column).sum())

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        time, (queries, keys, values) = q.shape[2], (self.cut(x, self.stride) for x in (q, k, v))
        if not self.foldable(time, queries.shape[2] * self.summary + 1, places):
            return None
        slots = torch.arange(queries.shape[2] * self.stride, device=q.device).view(-1, self.stride)
        summaries, read = (x[:, :, :, -self.summary :].flatten(2, 3) for x in (keys, values))
        at, place = slots[:, -self.summary :].flatten(), slots[..., None]
        seen = (at < time) & ((at < place) if causal else (at != place))
        own, far = _together(
            ((queries * keys).sum(-1, keepdim=True) * self.scale, torch.ones_like(place, dtype=torch.bool)),
            (queries @ summaries[:, :, None].transpose(-1, -2) * self.scale, seen),
        )
        return (own * values + far @ read[:, :, None]).flatten(2, 3)[:, :, :time]


class StridedAttention(GridAttention):
    """Both patterns of the strided kind in one layer: the last `stride` + 1 positions, and the column.

    Args:
        stride: positions in a row of the grid.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"rope": cls(dim, 4, 3, position=Rope()), "causal": cls(dim, 4, 3, causal=True)}

    @property
    def seen(self) -> Rule:
        return AnyOf((Window(self.stride + 1), Columns(self.stride)))

    def pairs(self, time: int) -> int:
        places = np.arange(time)
        before = np.minimum(places, self.stride) + np.maximum(places // self.stride - 1, 0)  # both see one row back
        return time + int(before.sum()) * (1 if self.causal == "yes" else 2)

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        time, (queries, keys, values) = q.shape[2], (self.cut(x, self.stride) for x in (q, k, v))
        rows, around = queries.shape[2], 2 if causal else 3  # of the grid; how many of them a window meets
        if not self.foldable(time, rows + around * self.stride, places):
            return None
        grid = _Grid(time, causal, self.scale, around, queries, keys, values)
        step = max(1, _KEPT // (queries[:, :, 0, :, 0].numel() * (rows + around * self.stride)))
        if q.requires_grad:  # every piece's gradient is as long as the whole
            step = rows
        found = [grid.attend(start, min(start + step, rows)) for start in range(0, rows, step)]
        return torch.cat(found, 2).flatten(2, 3)[:, :, :time]


class _Grid:
    """A sequence as the rows of a grid, `[B, H, rows, stride, d]`: each place sees its window and its column.

    Args:
        time: places that are there; the last row may be longer.
        causal: whether nobody looks ahead.
        scale: of the logits.
        around: rows that a window meets, from the one before on.
        queries, keys, values: the rows.
    """

    def __init__(
        self, time: int, causal: bool, scale: float, around: int, queries: Tensor, keys: Tensor, values: Tensor
    ) -> None:
        self.time, self.causal, self.scale, self.around = time, causal, scale, around
        self.queries = queries
        self.near = [F.pad(x, (0, 0, 0, 0, 1, around - 2)) for x in (keys, values)]
        self.columns = [x.transpose(2, 3).contiguous() for x in (keys, values)]

    def attend(self, start: int, stop: int) -> Tensor:
        """What the rows from start on, stop left out, take from the values."""
        queries = self.queries[:, :, start:stop]
        stride, device = queries.shape[3], queries.device
        keys, values = (
            torch.cat([x[:, :, start + i : stop + i] for i in range(self.around)], 3) for x in self.near
        )  # each row with the one before it, and (two-way) the one behind it
        last = stop if self.causal else self.queries.shape[2]
        column_keys, column_values = (x[:, :, :, :last] for x in self.columns)

        row, place = torch.arange(start, stop, device=device), torch.arange(stride, device=device)
        slots = row[:, None] * stride + place
        near = (slots - stride)[:, :1] + torch.arange(self.around * stride, device=device)
        away, other = slots[..., None] - near[:, None], torch.arange(last, device=device)
        inside = ((near >= 0) & (near < self.time))[:, None] & (away.abs() < stride)
        if self.causal:
            inside = inside & (away >= 0)
        column = (other < row[:, None]) if self.causal else (other != row[:, None])
        real = other * stride + place[:, None] < self.time  # of a column's keys, those that are there

        far_logits = queries.transpose(2, 3) @ column_keys.transpose(-1, -2)
        close, far = _together(
            (queries @ keys.transpose(-1, -2) * self.scale, inside | (away == 0)),
            (far_logits.transpose(2, 3) * self.scale, column[:, None] & real),
        )
        return close @ values + (far.transpose(2, 3) @ column_values).transpose(2, 3)


class FixedAttention(SummaryAttention):
    """Both patterns of the fixed kind in one layer: one's own block, and the summaries of all."""

    @property
    def seen(self) -> Rule:
        return AnyOf((InBlocks(self.stride), Summaries(self.stride, self.summary)))

    def pairs(self, time: int) -> int:
        begins = np.arange(0, time, self.stride)
        own, sizes = np.add.reduceat(self.column(time), begins, dtype=np.int64), np.diff(begins, append=time)
        if self.causal == "yes":
            return int((sizes * (sizes + 1) // 2 + sizes * (own.cumsum() - own)).sum())
        return int((sizes * (sizes + own.sum() - own)).sum())

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        time, (queries, keys, values) = q.shape[2], (self.cut(x, self.stride) for x in (q, k, v))
        blocks = queries.shape[2]
        if not self.foldable(time, blocks * self.summary + self.stride, places):
            return None
        slots = torch.arange(blocks * self.stride, device=q.device).view(blocks, self.stride)
        summaries, read = (x[:, :, :, -self.summary :].flatten(2, 3) for x in (keys, values))
        at, place, key = slots[:, -self.summary :].flatten(), slots[..., None], slots[:, None]
        other, own = at // self.stride, place // self.stride
        inside = (key < time) & (key <= place) if causal else key < time
        near, far = _together(
            (queries @ keys.transpose(-1, -2) * self.scale, inside | (key == place)),
            (
                queries @ summaries[:, :, None].transpose(-1, -2) * self.scale,
                (at < time) & ((other < own) if causal else (other != own)),
            ),
        )
        return (near @ values + far @ read[:, :, None]).flatten(2, 3)[:, :, :time]


def _together(*parts: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """One softmax over several sets of keys: of each, logits and which are seen; the weights of each."""
    logits = torch.cat([logits.masked_fill(~seen, float("-inf")) for logits, seen in parts], -1)
    return logits.softmax(-1).split([logits.shape[-1] for logits, _ in parts], -1)


def _summary(stride: int, summary: int) -> None:
    at_least_one("SummaryAttention", stride=stride, summary=summary)
    if summary >= stride:
        fix = f"use at most {stride - 1}" if stride > 1 else f"use stride={summary + 1} or more"
        raise UserError(f"SummaryAttention: {summary} summary positions in blocks of {stride}; {fix}")
