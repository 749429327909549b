"""The quantization grid: weights in groups along their inputs, each with a scale, rounded to a few levels.

A grid says how a group's range becomes its scale (and zero) and which code a scaled weight gets. `quantize` does the
rest, for any grid. Groups run along the columns (the inputs) of a matrix; for the other way quantize its transpose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts import Outliers, Packed, pack

_LARGEST = 65504.0  # of float16, which scales are stored in


class Grid(ABC):
    """Levels that scaled weights are rounded to.

    Attributes:
        bits: of a code.
        zero: groups have an offset besides their scale.
    """

    bits: int
    zero: bool

    @property
    @abstractmethod
    def limits(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest level, each a scalar or one for each row `[rows]`."""

    @abstractmethod
    def codes(self, scaled: Tensor) -> Tensor:
        """The code, uint8, of the level that is nearest to each scaled weight `[rows, columns]`."""

    @abstractmethod
    def levels(self, codes: Tensor) -> Tensor:
        """The level of each code `[rows, columns]`, float32."""

    @property
    def tables(self) -> Tensor | None:
        """The levels as a table `[1 or rows, 2^bits]`; None where they are integers."""
        return None


class IntGrid(Grid):
    """Integers. Symmetric: −(2^(bits−1) − 1) to 2^(bits−1) − 1, so the lowest code is never used; else 0 to 2^bits − 1.

    Raises:
        UserError: bits out of range.
    """

    def __init__(self, bits: int, symmetric: bool = True) -> None:
        least = 2 if symmetric else 1
        if not least <= bits <= 8:
            raise UserError(f"bits is {bits}; it must be between {least} and 8")
        self.bits, self.zero = bits, not symmetric
        self._shift = 2 ** (bits - 1) if symmetric else 0
        self._low = 1 - self._shift if symmetric else 0
        self._high = self._shift - 1 if symmetric else 2**bits - 1

    @property
    def limits(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(float(self._low)), torch.tensor(float(self._high))

    def rounded(self, scaled: Tensor) -> Tensor:
        """The nearest integer within the limits, as a float."""
        return scaled.round().clamp_(self._low, self._high)

    def codes(self, scaled: Tensor) -> Tensor:
        return (self.rounded(scaled) + self._shift).to(torch.uint8)

    def levels(self, codes: Tensor) -> Tensor:
        return codes.float() - self._shift


class TableGrid(Grid):
    """Any levels: one table for all rows, or one for each.

    Args:
        table: levels in ascending order, `[k]` or `[rows, k]` with k ≤ 256.
        zero: groups have an offset: their range is mapped onto that of the levels. Without one their largest
            absolute weight is mapped onto the largest absolute level.

    Raises:
        UserError: levels that do not ascend, fewer than 2 or more than 256.
    """

    def __init__(self, table: Tensor, zero: bool = False) -> None:
        table = torch.atleast_2d(table.detach().float())
        if not 2 <= table.shape[1] <= 256 or bool((table[:, 1:] < table[:, :-1]).any()):
            raise UserError(f"a grid has 2 to 256 levels in ascending order; got {table.shape[1]}, or not in order")
        self.bits, self.zero = max(1, (table.shape[1] - 1).bit_length()), zero
        self._table = table

    @property
    def limits(self) -> tuple[Tensor, Tensor]:
        return self._table[:, 0], self._table[:, -1]

    def codes(self, scaled: Tensor) -> Tensor:
        between = (self._table[:, 1:] + self._table[:, :-1]) / 2
        if len(between) == 1:
            return torch.bucketize(scaled, between[0]).to(torch.uint8)
        return torch.searchsorted(between, scaled.contiguous()).to(torch.uint8)

    def levels(self, codes: Tensor) -> Tensor:
        return self.tables.expand(len(codes), -1).gather(1, codes.long())

    @property
    def tables(self) -> Tensor:
        # Codes that have no level stand for the highest: bytes from anywhere can be decoded.
        return torch.cat([self._table, self._table[:, -1:].expand(-1, 2**self.bits - self._table.shape[1])], 1)


class Fp4Grid(TableGrid):
    """Floating point of 4 bits, E2M1. OCP Microscaling Formats (MX) Specification 1.0, 2023."""

    def __init__(self) -> None:
        half = torch.tensor([0.5, 1, 1.5, 2, 3, 4, 6])
        super().__init__(torch.cat([-half.flip(0), torch.zeros(1), half]))


class Nf4Grid(TableGrid):
    """NormalFloat of 4 bits: quantiles of a normal distribution, with an exact zero.

    Dettmers et al. 2023, https://arxiv.org/abs/2305.14314, appendix E: 8 quantiles of the negative and 9 of the
    positive half, whose shared zero counts once; scaled to [−1, 1].
    """

    def __init__(self) -> None:
        outermost = 1 - (1 / 30 + 1 / 32) / 2
        quantile = torch.distributions.Normal(0.0, 1.0).icdf
        low = -quantile(torch.linspace(outermost, 0.5, 8, dtype=torch.float64))
        high = quantile(torch.linspace(0.5, outermost, 9, dtype=torch.float64))
        super().__init__(torch.cat([low[:-1], torch.zeros(1), high[1:]]) / high[-1])


@dataclass(frozen=True)
class Quantized:
    """A matrix as codes.

    Attributes:
        codes: uint8 `[out, in]`.
        scale: float16 `[out, groups]`.
        zero: float16 `[out, groups]`; None where the grid has none.
        grid: what the codes stand for.
        group: columns that share a scale; the last group may be shorter.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    grid: Grid
    group: int

    def dense(self) -> Tensor:
        """The matrix as plain numbers, float32 `[out, in]`."""
        levels = self.grid.levels(self.codes) * spread(self.scale.float(), self.group, self.codes.shape[1])
        return levels if self.zero is None else levels + spread(self.zero.float(), self.group, self.codes.shape[1])

    def packed(self, outliers: Outliers | None = None) -> Packed:
        """The matrix as a part that can be saved; `outliers` stand in place of what their codes say."""
        rows, columns = self.codes.shape
        table = self.grid.tables
        kept = 0 if outliers is None else outliers.count
        tables = 0 if table is None else len(table)
        made = Packed(rows, columns, self.grid.bits, self.group, self.grid.zero, tables, kept)
        made.codes = pack(self.codes, self.grid.bits)
        made.scale = _fixed(self.scale)
        made.zero = None if self.zero is None else _fixed(self.zero)
        made.table = None if table is None else _fixed(table)
        made.outliers = outliers if kept else None
        return made


def quantize(
    weight: Tensor, grid: Grid, group: int | None = None, scale: Tensor | None = None, zero: Tensor | None = None
) -> Quantized:
    """A matrix rounded to a grid.

    Args:
        weight: `[out, in]`.
        grid: the levels.
        group: columns that share a scale (the last group may be shorter); None: the whole row.
        scale, zero: `[out, groups]`, used as they are (in float16); by default from each group's range.

    Raises:
        UserError: a group below 1, or weights that float16 scales cannot hold.
    """
    size = group_size(weight, group)
    if scale is None:
        scale, zero = from_range(weight, grid, size)
    scale = scale.half()
    zero = None if zero is None else zero.half()
    return Quantized(grid.codes(scaled(weight, scale, zero, size)), scale, zero, grid, size)


def from_range(weight: Tensor, grid: Grid, group: int | None = None) -> tuple[Tensor, Tensor | None]:
    """The scale (and zero) float16 `[out, groups]` with which each group's range just fills the grid's.

    Raises:
        UserError: weights too large for float16 scales.
    """
    parts = grouped(weight, group_size(weight, group))
    low, high = (limit[..., None] if limit.ndim else limit for limit in grid.limits)
    low, high = low.to(parts.device), high.to(parts.device)
    if grid.zero:
        least, most = parts.amin(2), parts.amax(2)
        scale = _in_range((most - least) / (high - low)).half()
        return scale, _in_range(least - low * scale.float()).half()
    return _in_range(parts.abs().amax(2) / torch.maximum(low.abs(), high.abs())).half(), None


def scaled(weight: Tensor, scale: Tensor, zero: Tensor | None, group: int) -> Tensor:
    """`(weight − zero) / scale` by groups, float32 `[out, in]`; 0 where the scale is 0."""
    columns = weight.shape[1]
    shifted = weight.float() if zero is None else weight.float() - spread(zero.float(), group, columns)
    inverse = torch.where(scale > 0, scale.float().reciprocal(), 0.0)
    return shifted * spread(inverse, group, columns)


def grouped(weight: Tensor, group: int) -> Tensor:
    """A matrix as float32 `[out, groups, group]`; a shorter last group is filled up with its last column."""
    missing = -weight.shape[1] % group
    filled = torch.cat([weight, weight[:, -1:].expand(-1, missing)], 1) if missing else weight
    return filled.float().unflatten(1, (-1, group))


def spread(per_group: Tensor, group: int, columns: int) -> Tensor:
    """A number for each group `[out, groups]` as one for each column `[out, columns]`."""
    return per_group.repeat_interleave(group, 1)[:, :columns]


def group_size(weight: Tensor, group: int | None) -> int:
    """Columns of a group, at most those of the matrix (UserError where the group is below 1)."""
    if group is not None and group < 1:
        raise UserError(f"group is {group}; it must be at least 1 column")
    return min(group or weight.shape[1], weight.shape[1])


def _in_range(values: Tensor) -> Tensor:
    if values.numel() and float(values.abs().max()) > _LARGEST:
        raise UserError(
            "the weights are too large for scales in float16; the model is damaged, or must be scaled first"
        )
    return values


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=False)


def relative_error(weight: Tensor, other: Tensor) -> float:
    """‖W − Ŵ‖² / ‖W‖²: the share of a matrix's squared size that is lost; 0 for a matrix of zeros."""
    whole = float(weight.double().square().sum())
    return float(F.mse_loss(other.double(), weight.double(), reduction="sum")) / whole if whole else 0.0
