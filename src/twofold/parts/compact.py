"""Matrices in few bits: packed codes with scales, tables of levels and exact outliers.

A `CompactMatrix` gives rows of plain numbers when they are asked for; the layers in `packed` work with any.

Codes are integers below 2^bits. Each row of a matrix is a little-endian stream of bits of its own: code k takes the
bits k·bits to (k + 1)·bits − 1, and bit i of the stream is bit i mod 8 (counted from the lowest) of byte i // 8. So at
4 bits the first code of two is the low half of a byte, and at 3 bits eight codes take three bytes.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part


def pack(codes: UInt8[Tensor, "*rows count"], bits: int) -> UInt8[Tensor, "*rows bytes"]:
    """Codes below 2^bits as bytes, ⌈count · bits / 8⌉ a row, in the order that this module's head describes.

    Args:
        codes: what is packed; higher bits are ignored.
        bits: for each code, 1 to 8.
    """
    count, per, size = codes.shape[-1], *_word(bits)
    whole = F.pad(codes, (0, -count % per)).unflatten(-1, (-1, per)).to(_integers(size))
    words = ((whole & (2**bits - 1)) << _shifts(per, bits, whole)).sum(-1, dtype=whole.dtype)
    found = (words[..., None] >> _shifts(size, 8, words)) & 255
    return found.to(torch.uint8).flatten(-2)[..., : packed_bytes(count, bits)].contiguous()


def unpack(stored: UInt8[Tensor, "*rows bytes"], bits: int, count: int) -> UInt8[Tensor, "*rows count"]:
    """The first `count` codes of each row of what `pack` gave."""
    per, size = _word(bits)
    whole = F.pad(stored, (0, -stored.shape[-1] % size)).unflatten(-1, (-1, size)).to(_integers(size))
    words = whole[..., 0] if size == 1 else (whole << _shifts(size, 8, whole)).sum(-1, dtype=whole.dtype)
    codes = (words[..., None] >> _shifts(per, bits, words)) & (2**bits - 1)
    return codes.to(torch.uint8).flatten(-2)[..., :count]


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of a packed row of `count` codes."""
    return -(-count * bits // 8)


def _word(bits: int) -> tuple[int, int]:
    """The smallest number of codes that fill whole bytes, and of those bytes."""
    divisor = math.gcd(bits, 8)
    return 8 // divisor, bits // divisor


def _integers(size: int) -> torch.dtype:
    return torch.uint8 if size == 1 else torch.int32 if size < 4 else torch.int64


def _shifts(count: int, step: int, like: Tensor) -> Tensor:
    return torch.arange(0, count * step, step, device=like.device, dtype=torch.int64).to(like.dtype)


class CompactMatrix(Part, abstract=True):
    """A matrix `[rows, columns]` that is stored in less than plain numbers.

    Attributes:
        rows, columns: its shape as a plain matrix.
    """

    rows: int
    columns: int

    @abstractmethod
    def take(self, which: slice | Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, "n columns"]:
        """Some rows as plain numbers."""

    def dense(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "rows columns"]:
        """All of it as plain numbers."""
        return self.take(slice(0, self.rows), dtype)

    @property
    def numbers(self) -> int:
        """How many weights it stands for."""
        return self.rows * self.columns

    @property
    def bits_per_weight(self) -> float:
        """Bits of everything that is stored, for each weight."""
        return 8 * sum(t.numel() * t.element_size() for t in self.tensors().values()) / self.numbers


class Outliers(Part):
    """Single entries of a matrix as they are, by rows (compressed sparse rows): `values`, `places`, `starts`.

    The entries of row r are `values[starts[r] : starts[r + 1]]`, in the columns `places[starts[r] : starts[r + 1]]`.

    Args:
        rows, columns: shape of the matrix.
        count: how many entries.
    """

    values: Tensor
    places: Tensor
    starts: Tensor

    def __init__(self, rows: int, columns: int, count: int) -> None:
        super().__init__()
        at_least_one("Outliers", rows=rows, columns=columns)
        if not 0 <= count <= rows * columns:
            raise UserError(f"Outliers: count is {count}; a {rows} × {columns} matrix has 0 to {rows * columns}")
        self.rows, self.columns, self.count = rows, columns, count
        self.values = nn.Parameter(torch.zeros(count), requires_grad=False)
        small = columns <= 2**16
        self.register_buffer("places", torch.zeros(count, dtype=torch.uint16 if small else torch.int32))
        self.register_buffer("starts", torch.zeros(rows + 1, dtype=torch.int32))

    @classmethod
    def of(cls, matrix: Tensor, chosen: Tensor, dtype: torch.dtype | None = None) -> Outliers:
        """The entries of `matrix` where `chosen` is true, in its own dtype or another."""
        where = chosen.nonzero()
        rows, columns = matrix.shape
        made = cls(rows, columns, len(where))
        made.values = nn.Parameter(matrix.detach()[chosen].to(dtype or matrix.dtype), requires_grad=False)
        made.places = where[:, 1].to(made.places.dtype)
        made.starts = F.pad(chosen.sum(1).cumsum(0), (1, 0)).to(torch.int32)
        return made

    def put(self, dense: Float[Tensor, "n columns"], which: slice | Int[Tensor, " n"]) -> Float[Tensor, "n columns"]:
        """Writes the entries of some rows into those rows as plain numbers, `dense` (exact, whatever stood there)."""
        if not self.count:
            return dense
        if isinstance(which, slice):
            counts = self.starts[which.start + 1 : which.stop + 1] - self.starts[which.start : which.stop]
            entries: Tensor | slice = slice(int(self.starts[which.start]), int(self.starts[which.stop]))
        else:
            first, counts = self.starts[which].long(), self.starts[which + 1] - self.starts[which]
            inside = torch.arange(int(counts.sum()), device=which.device)
            entries = inside + (first - F.pad(counts.cumsum(0), (1, 0))[:-1]).repeat_interleave(counts)
        row = torch.arange(len(dense), device=dense.device).repeat_interleave(counts)
        # Few kernels know uint16, so the columns are widened before some are chosen.
        column = self.places[entries].long() if isinstance(entries, slice) else self.places.long()[entries]
        return dense.index_put_((row, column), self.values[entries].to(dense.dtype))

    def check_tensors(self) -> None:
        starts, places = self.starts, self.places.long()
        wrong = starts.dtype != torch.int32 or int(starts[0]) != 0 or int(starts[-1]) != self.count
        wrong = wrong or bool((starts[1:] < starts[:-1]).any())
        if wrong or (self.count and not 0 <= int(places.min()) <= int(places.max()) < self.columns):
            raise UserError("outliers lie outside their matrix: the file is damaged; copy or make it again")


class Packed(CompactMatrix):
    """Codes of a few bits, a scale for each group of a row, and what levels the codes stand for.

    The entry of row r and column c is `scale[r, g] · level(code) (+ zero[r, g])` with g = c // group, but for outliers.
    Levels are the integers −2^(bits − 1) + code, or plainly `code` where there is a `zero`; or they stand in a table.

    Args:
        rows, columns: its shape.
        bits: of a code, 1 to 8.
        group: columns that share a scale (the last group may be shorter); None: the whole row.
        zero: groups also say what level 0 stands for.
        tables: 0: levels are integers; 1: one table of 2^bits levels; `rows`: one for each row.
        outliers: entries that are kept as they are.

    Tensors:
        codes: uint8 `[rows, ⌈columns · bits / 8⌉]`.
        scale, zero: `[rows, groups]`, float16.
        table: `[tables, 2^bits]`, float32.
    """

    codes: Tensor

    def __init__(
        self,
        rows: int,
        columns: int,
        bits: int,
        group: int | None = None,
        zero: bool = False,
        tables: int = 0,
        outliers: int = 0,
    ) -> None:
        super().__init__()
        at_least_one("Packed", rows=rows, columns=columns, group=group)
        if not 1 <= bits <= 8:
            raise UserError(f"Packed: bits is {bits}; codes have 1 to 8")
        if tables not in (0, 1, rows):
            raise UserError(f"Packed: tables is {tables}; it must be 0, 1 or one for each of {rows} rows")
        self.rows, self.columns, self.bits = rows, columns, bits
        self.group = min(group or columns, columns)
        self.groups = -(-columns // self.group)
        self.register_buffer("codes", torch.zeros(rows, packed_bytes(columns, bits), dtype=torch.uint8))
        self.scale = _half(rows, self.groups)
        self.zero = _half(rows, self.groups) if zero else None
        self.table = nn.Parameter(torch.zeros(tables, 2**bits), requires_grad=False) if tables else None
        self.outliers = Outliers(rows, columns, outliers) if outliers else None

    def take(self, which: slice | Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, "n columns"]:
        codes = unpack(self.codes[which], self.bits, self.columns)
        levels = self._levels(codes, which, dtype)
        scale = self.scale[which].to(dtype)
        zero = None if self.zero is None else self.zero[which].to(dtype)
        if self.columns % self.group == 0:
            shape = (self.groups, self.group)
            levels = levels.unflatten(1, shape) * scale[..., None]
            levels = (levels if zero is None else levels + zero[..., None]).flatten(1)
        else:
            levels = levels * self.spread(scale)
            levels = levels if zero is None else levels + self.spread(zero)
        return levels if self.outliers is None else self.outliers.put(levels, which)

    def spread(self, per_group: Float[Tensor, "n groups"]) -> Float[Tensor, "n columns"]:
        """A number for each group as one for each column."""
        return per_group.repeat_interleave(self.group, 1)[:, : self.columns]

    def _levels(self, codes: Tensor, which: slice | Tensor, dtype: torch.dtype) -> Tensor:
        if self.table is None:
            return codes.to(dtype) - (0 if self.zero is not None else 2 ** (self.bits - 1))
        if len(self.table) == 1:
            return self.table[0].to(dtype)[codes.long()]
        return self.table[which].to(dtype).gather(1, codes.long())

    def check_tensors(self) -> None:
        if self.codes.dtype != torch.uint8:
            raise UserError(f"packed codes are bytes, not {self.codes.dtype}: the file is damaged; make it again")


def _half(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape, dtype=torch.float16), requires_grad=False)
