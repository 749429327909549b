"""Attention in blocks: masks that leave most pairs out are never written as one `T × T` product.

`plan` turns a mask into a `Band` (a window: blocks of neighbours) or `Documents` (packed texts: each for itself), or
says that neither fits; results are those of the dense mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.parts.masks import Mask
from twofold.parts.rules import CAUSAL, Places, Window, visible

_CALL = 4096  # pairs that a kernel works off in the time of one more call


class Blocks:
    """Attention that never looks at pairs outside its blocks."""

    def attend(
        self, q: Float[Tensor, "batch heads time d"], k: Tensor, v: Tensor, scale: float
    ) -> Float[Tensor, "batch heads time d"]:
        """What each query takes from the values; keys and values `[B, G, T, d]`, H a multiple of G."""
        raise NotImplementedError


def plan(mask: Mask, queries: Places, keys: Places, dtype: torch.dtype) -> Blocks | None:
    """The blocks in which a mask can be worked off, made once a pass; None where a kernel's own masks serve better.

    Args:
        mask: any.
        queries, keys: where they stand; the same object where no cache is in use.
        dtype: of the logits.
    """
    if queries is not keys or mask.pairs is not None or not visible(keys.positions):
        return None
    if any(isinstance(rule, Window) for rule in mask.rules):
        return mask.keep(("band", keys, dtype), lambda: _band(mask, keys, dtype))
    if keys.segments is not None and keys.real is None and mask.rules in ((), (CAUSAL,)):
        return mask.keep(("documents", keys), lambda: _documents(keys, causal=mask.is_causal))
    return None


@dataclass(frozen=True, eq=False)
class Band(Blocks):
    """A window in blocks of queries, each with the keys from `back` slots before to `ahead` behind it: O(T · window).

    Beltagy et al. 2020, https://arxiv.org/abs/2004.05150, section 3.2, with chunks of keys that overlap.

    Attributes:
        block: queries in a block.
        back, ahead: how far a query sees.
        bias: 0 or -inf, `[blocks, 1, block, span]` for every row alike, or `[B · blocks, 1, block, span]`.
    """

    block: int
    back: int
    ahead: int
    bias: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """As `Blocks`."""
        batch, time = q.shape[0], q.shape[2]
        count = -(-time // self.block)
        rest = count * self.block - time
        alike = len(self.bias) == count

        def fold(blocks: Tensor) -> Tensor:
            """`[B, H, blocks, t, d]` so that the bias fits: rows become heads where all have the same one."""
            if alike:
                return blocks.permute(2, 0, 1, 3, 4).flatten(1, 2)
            return blocks.transpose(1, 2).flatten(0, 1)

        def spans(x: Tensor) -> Tensor:
            wide = F.pad(x, (0, 0, self.back, self.ahead + rest))
            return fold(wide.unfold(2, self.block + self.back + self.ahead, self.block).transpose(-1, -2))

        blocks = fold(F.pad(q, (0, 0, 0, rest)).unflatten(2, (count, self.block)))
        found = F.scaled_dot_product_attention(
            blocks, spans(k), spans(v), attn_mask=self.bias, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        if alike:
            out = found.unflatten(1, (batch, q.shape[1])).permute(1, 2, 0, 3, 4)
        else:
            out = found.unflatten(0, (batch, count)).transpose(1, 2)
        return out.flatten(2, 3)[:, :, :time]


def _band(mask: Mask, places: Places, dtype: torch.dtype) -> Band | None:
    if any(rule != CAUSAL and not isinstance(rule, Window) for rule in mask.rules):
        return None
    back = min(rule.width for rule in mask.rules if isinstance(rule, Window)) - 1
    ahead = 0 if mask.is_causal else back
    time = len(places.slots)
    block = min(max(back // 2, 16), 128)
    span = block + back + ahead
    if time < 2 * span or not _aligned(places):
        return None
    count = -(-time // block)
    device = places.slots.device
    query, key = torch.arange(block, device=device)[:, None], torch.arange(span, device=device)[None] - back
    seen = ((query - key <= back) & (key - query <= ahead)).expand(count, block, span)
    rest = count * block - time

    def around(x: Tensor, fill: int) -> Tensor:
        """`[rows, T]` as what each block's keys have, `[rows · blocks, 1, span]`."""
        return F.pad(x, (back, ahead + rest), value=fill).unfold(1, span, block).flatten(0, 1)[:, None]

    rows = 1
    inside = torch.ones(1, time, dtype=torch.long, device=device)
    if places.real is not None:
        inside, rows = places.real.long(), len(places.real)
    if places.segments is not None:
        rows = max(rows, len(places.segments))
        own = F.pad(places.segments, (0, rest), value=-1).unflatten(1, (count, block)).flatten(0, 1)[..., None]
        same = around(places.segments, -1) == own
        seen = _repeated(seen, rows) & _repeated(same, rows // len(places.segments))
    seen = _repeated(seen, rows * count // len(seen)) & _repeated(around(inside, 0) > 0, rows // len(inside))
    blind = ~seen.any(-1, keepdim=True)  # padding; looks at anything, so that it stays finite
    bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~(seen | blind), float("-inf"))
    return Band(block, back, ahead, bias[:, None])


def _repeated(x: Tensor, times: int) -> Tensor:
    return x if times == 1 else x.repeat(times, 1, 1)


def _aligned(places: Places) -> bool:
    """Whether positions differ as slots do, between any two tokens that may see each other."""
    shape = (max(len(x) for x in (places.positions, places.real, places.segments) if x is not None), len(places.slots))
    positions, slots = places.positions.expand(shape), places.slots.expand(shape)
    row = torch.arange(shape[0], device=slots.device)[:, None].expand(shape)
    segment = torch.zeros_like(slots) if places.segments is None else places.segments.expand(shape)
    told = torch.stack((row, segment, slots, positions))
    told = told.flatten(1) if places.real is None else told[:, places.real.expand(shape)]
    step = told[:, 1:] - told[:, :-1]
    together = (step[0] == 0) & (step[1] == 0)
    return bool((~together | ((step[2] == 1) & (step[3] == 1))).all())


@dataclass(frozen=True, eq=False)
class Documents(Blocks):
    """Packed texts, those of one length together: O(Σ L²) for texts of L tokens, and no padding.

    Attributes:
        groups: flat slots (row · T + slot) of texts of one length, `[n, L]` each.
        order: where in the groups' tokens each slot stands, `[B · T]`.
        causal: whether nobody looks ahead.
    """

    groups: Sequence[Tensor]
    order: Tensor
    causal: bool

    def attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """As `Blocks`."""
        shape = q.transpose(1, 2).shape
        rows = [x.transpose(1, 2).flatten(0, 1) for x in (q, k, v)]
        found = []
        for group in self.groups:
            if len(group) == 1:  # one run of slots: no copy
                own = [x[int(group[0, 0]) : int(group[0, -1]) + 1][None] for x in rows]
            else:
                own = [x[group] for x in rows]
            query, key, value = (x.transpose(1, 2) for x in own)
            gqa = q.shape[1] != k.shape[1]
            one = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal, scale=scale, enable_gqa=gqa)
            found.append(one.transpose(1, 2).flatten(0, 1))
        return torch.cat(found)[self.order].view(shape).transpose(1, 2)


def _documents(places: Places, causal: bool) -> Documents | None:
    assert places.segments is not None
    batch, time = places.segments.shape
    begins = torch.ones_like(places.segments, dtype=torch.bool)
    begins[:, 1:] = places.segments[:, 1:] != places.segments[:, :-1]
    first = begins.flatten().nonzero()[:, 0]
    lengths = torch.diff(first, append=first.new_tensor([batch * time]))
    sizes, counts = lengths.unique(return_counts=True)
    if batch * time * time - int((counts * sizes * sizes).sum()) < _CALL * len(sizes):
        return None
    groups = [first[lengths == size][:, None] + torch.arange(int(size), device=first.device) for size in sizes]
    return Documents(groups, torch.cat([group.flatten() for group in groups]).argsort(), causal)
