"""Products of a few rows with a large matrix, which the reading of its weights bounds: one byte a weight, not four.

Many checkpoints hold weights that lie on a grid of 16 or 256 levels in groups of 32 (GGUF's Q4_0, Q4_1, Q8_0). Read as
float32 they say nothing more than their codes do, and a product with one row takes as long as reading them. Here

    y[n] = Σ_g scale[n, g] · Σ_{k in g} x[k] · code[n, k]  +  Σ_g offset[n, g] · Σ_{k in g} x[k]

is computed from the codes, in float32, with weights that are equal to the bit: only the order of the sums differs. The
inner sums are weighted bags of rows, for which PyTorch has a kernel that reads bytes: a bag is a group, a row the codes
of one column for a tile of outputs, so that the whole table is read once, from front to back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts.compact import Packed, unpack

FEW = 2
"""Rows up to which reading the codes anew for each row is faster than reading the plain weights once."""

_TILE = 256  # outputs whose codes stand side by side: long runs to read, and their sums fit the registers
_CHUNK = 2**17  # numbers of a matrix that are looked at together: they stay in a processor's cache


class Codes(NamedTuple):
    """A matrix as integers of groups along its columns: `scale · code + offset`.

    Attributes:
        codes: uint8 `[rows, columns]`, counted from `shift`.
        shift: the integer that stands for 0.
        scale: float32 `[rows, groups]`.
        offset: float32 `[rows, groups]`, added to every weight of a group; None: nothing.
    """

    codes: Tensor
    shift: int
    scale: Tensor
    offset: Tensor | None


def available() -> bool:
    """Whether this machine has the kernel in a form that is fast."""
    return "fbgemm" in torch.backends.quantized.supported_engines


@torch.no_grad()
def codes_of(weight: Float[Tensor, "rows columns"], group: int = 32) -> Codes | None:
    """Codes that give exactly these float32 weights: 4 bits with offsets, or 4 or 8 without. None: there are none."""
    if weight.dtype != torch.float32 or weight.device.type != "cpu" or weight.shape[1] % group:
        return None
    for guess in (_ranged, _halved, _symmetric):
        if _fits(weight[:1], group, guess) is None:  # most matrices lie on no grid, and one row says so
            continue
        found = [_fits(part, group, guess) for part in weight.split(max(1, _CHUNK // weight.shape[1]))]
        whole = [part for part in found if part is not None]
        if len(whole) == len(found):
            joined = [torch.cat(list(parts)) for parts in zip(*(part[:2] for part in whole), strict=True)]
            zeros = [part[2] for part in whole if part[2] is not None]
            return _centred(joined[0], guess.bits, joined[1], torch.cat(zeros) if zeros else None)
    return None


class _Guess(NamedTuple):
    """Bits of a code, and from grouped weights `[rows, groups, group]` the scale and (else None) what code 0 means."""

    bits: int
    scale: Callable[[Tensor], Tensor]
    zero: Callable[[Tensor], Tensor] | None


def _outermost(parts: Tensor) -> Tensor:
    return parts.gather(2, parts.abs().argmax(2, keepdim=True))[..., 0]


_ranged = _Guess(4, lambda parts: (parts.amax(2) - parts.amin(2)) / 15, lambda parts: parts.amin(2))
_halved = _Guess(4, lambda parts: -_outermost(parts) / 8, None)
_symmetric = _Guess(8, lambda parts: parts.abs().amax(2) / 127, None)


def _fits(weight: Tensor, group: int, guess: _Guess) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Codes, scale and zero of rows, if they give the rows back to the bit."""
    parts = weight.unflatten(1, (-1, group))
    scale = guess.scale(parts).half().float()  # scales are stored so
    zero = None if guess.zero is None else guess.zero(parts)
    lifted = parts if zero is None else parts - zero[..., None]
    levels = (lifted / torch.where(scale == 0, 1.0, scale)[..., None]).round_()
    again = levels * scale[..., None]
    again = again if zero is None else again + zero[..., None]
    codes = levels if zero is not None else levels + 2 ** (guess.bits - 1)
    if not torch.equal(again, parts) or float(codes.min()) < 0 or float(codes.max()) >= 2**guess.bits:
        return None
    return codes.to(torch.uint8).flatten(1), scale, zero


def _centred(codes: Tensor, bits: int, scale: Tensor, zero: Tensor | None) -> Codes:
    """Codes counted from the middle, so that the two sums of a group do not cancel."""
    shift = 2 ** (bits - 1)
    return Codes(codes, shift, scale, None if zero is None else zero + shift * scale)


def codes_in(weight: Packed) -> Codes | None:
    """The codes of a packed matrix; None where it has tables, outliers or groups of unequal size."""
    if weight.table is not None or weight.outliers is not None or weight.columns % weight.group:
        return None
    codes = unpack(weight.codes, weight.bits, weight.columns)
    zero = None if weight.zero is None else weight.zero.detach().float()
    return _centred(codes, weight.bits, weight.scale.detach().float(), zero)


class Streamed(nn.Module):
    """Linear maps of one input, joined along their outputs: a few rows from codes, many rows by the maps themselves.

    Args:
        parts: codes of each map's matrix, alike in groups.
        maps: the maps; what many rows go through.
        bias: of all outputs, or None.
    """

    def __init__(self, parts: Sequence[Codes], maps: Sequence[Callable[[Tensor], Tensor]], bias: Tensor | None) -> None:
        super().__init__()
        self._maps, self._bias = list(maps), bias
        self.outputs, self.inputs = sum(len(part.codes) for part in parts), parts[0].codes.shape[1]
        groups = parts[0].scale.shape[1]
        self.group = self.inputs // groups
        self._tile = next((size for size in range(_TILE, 63, -8) if self.outputs % size == 0), _TILE)
        self._tiles = -(-self.outputs // self._tile)
        missing = self._tiles * self._tile - self.outputs
        rows = [_row(part) for part in parts]
        pad = nn.functional.pad
        codes = pad(torch.cat([codes for codes, _, _ in rows]), (0, 0, 0, missing))
        scale = pad(torch.cat([scale for _, scale, _ in rows]), (0, 0, 0, missing))
        self._scale = scale.unflatten(0, (self._tiles, self._tile)).transpose(1, 2).contiguous()
        offset = [offset for _, _, offset in rows]
        self._offset = None if all(o is None for o in offset) else torch.cat([_given(o, s) for _, s, o in rows])
        table = codes.unflatten(0, (self._tiles, self._tile)).transpose(1, 2).flatten(0, 1)
        # The kernel reads a scale and an offset of its own behind every row: 1, and what makes codes count from 0.
        behind = torch.tensor([1.0, -128.0]).view(torch.uint8).expand(len(table), 8)
        self._table = torch.cat([table, behind], 1)
        self._places: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        rows = x.numel() // self.inputs
        if not 0 < rows <= FEW or x.dtype != torch.float32:
            found = [mapped(x) for mapped in self._maps]
            return found[0] if len(found) == 1 else torch.cat(found, -1)
        places, starts = self._at(rows)
        flat = x.reshape(rows, 1, self.inputs)
        weights = flat.expand(rows, self._tiles, self.inputs).reshape(-1)
        sums = _bags(self._table, places, starts, False, 0, False, weights).view(rows, *self._scale.shape)
        y = (sums * self._scale).sum(2).view(rows, -1)[:, : self.outputs]
        if self._offset is not None:
            y = torch.addmm(y, flat.view(rows, -1, self.group).sum(2), self._offset.T)
        if self._bias is not None:
            y = y + self._bias
        return y.view(*x.shape[:-1], self.outputs)

    def read(self) -> list[Tensor]:
        """What a product of one row reads."""
        return [t for t in (self._table, self._scale, self._offset, self._bias) if t is not None]

    def _at(self, rows: int) -> tuple[Tensor, Tensor]:
        """Which rows of the table are read, and where the bags begin."""
        if rows not in self._places:
            places = torch.arange(len(self._table), dtype=torch.int32).repeat(rows)
            self._places[rows] = places, torch.arange(0, len(places), self.group, dtype=torch.int32)
        return self._places[rows]


def _row(part: Codes) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes counted from 128, whatever they were counted from."""
    return part.codes + (128 - part.shift), part.scale, part.offset


def _given(offset: Tensor | None, scale: Tensor) -> Tensor:
    return torch.zeros_like(scale) if offset is None else offset


def _bags(*arguments: object) -> Tensor:
    found: Tensor = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(*arguments)
    return found
