"""Texts laid end to end, without padding: norms, projections and feed-forward parts then run on real tokens only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel


@dataclass(frozen=True)
class PackedTexts:
    """Texts of L₁, L₂, … tokens as one row of ΣL.

    Attributes:
        ids: `[ΣL]`.
        positions: from 0 in each text, `[ΣL]`.
        cu_lengths: where each text begins, and the end: `[n + 1]`.
    """

    ids: Int[Tensor, "total"]
    positions: Int[Tensor, "total"]
    cu_lengths: Int[Tensor, "ends"]

    @property
    def segments(self) -> Int[Tensor, "1 total"]:
        """The number of each token's text."""
        lengths = self.cu_lengths.diff()
        return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)[None]

    @property
    def mask(self) -> Mask:
        """No text sees another, and positions start at 0 in each."""
        return Mask.segments(self.segments).at(self.positions[None])


def pack_texts(texts: Sequence[Sequence[int] | Int[Tensor, "_"]]) -> PackedTexts:
    """Lays texts end to end; `net(packed.ids[None], packed.mask)` is then `net` on each of them.

    Raises:
        UserError: no text, or an empty one, by number.
    """
    rows = [torch.as_tensor(text, dtype=torch.long) for text in texts]
    empty = next((number for number, row in enumerate(rows, 1) if not len(row)), None)
    if not rows or empty is not None:
        raise UserError(f"text {empty} has no token; leave it out" if rows else "there is no text to pack; give one")
    lengths = torch.tensor([len(row) for row in rows])
    return _packed(torch.cat(rows), lengths)


def _packed(ids: Tensor, lengths: Tensor) -> PackedTexts:
    ends = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    positions = torch.arange(len(ids), device=ids.device) - torch.repeat_interleave(ends[:-1], lengths)
    return PackedTexts(ids, positions, ends)


def unpack_texts(rows: Float[Tensor, "*one total dim"], packed: PackedTexts) -> list[Float[Tensor, "_ dim"]]:
    """What belongs to each text, `[L, ...]` each, of rows `[ΣL, ...]` (or `[1, ΣL, ...]`, as a network gives them)."""
    flat = rows[0] if rows.shape[0] == 1 and rows.shape[1:2] == packed.ids.shape else rows
    return list(flat.split(packed.cu_lengths.diff().tolist()))


def unpadded(
    net: SequenceModel, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None
) -> Float[Tensor, "batch time dim"]:
    """`net.states(ids, real)` worked off without its padding, where the states are zero.

    Args:
        net: two-way or causal, of mixers that keep packed texts apart.
        ids: padded anywhere; each row has a real token.
        real: True at tokens that are no padding; None: there is none.

    Raises:
        UserError: a row without a real token.
    """
    if real is None or bool(real.all()):
        return net.states(ids)
    lengths = real.sum(1)
    if not bool(lengths.all()):
        raise UserError(f"row {int((lengths == 0).nonzero()[0, 0]) + 1} is all padding; leave it out")
    packed = _packed(ids[real], lengths)
    states = net.states(packed.ids[None], packed.mask)[0]
    return states.new_zeros(*ids.shape, states.shape[-1]).masked_scatter(real[..., None], states)
