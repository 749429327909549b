"""Absmax: weights rounded to few bits, with the scale that just covers the largest; the plain rival of quantization."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from twofold.catalog import baseline
from twofold.surgery import IntGrid, quantize
from twofold.tasks.quantize import Compact, DataFree


@baseline(
    "absmax",
    title="Rounding to nearest with the largest weight as the range",
    tasks=("search", "language"),
    needs=("quantize a model to 4 bits without data", "round weights to int4 or int8"),
)
class Absmax(DataFree):
    """Rounds every weight to the nearest of 2^bits − 1 levels; one scale a row, or one a group of its columns."""

    bits: int = Field(4, ge=2, le=8, description="of a weight")
    group: int | None = Field(None, ge=1, description="inputs that share a scale; null: all of a row")

    def pack(self, weight: Tensor) -> Compact:
        return Compact(quantize(weight, IntGrid(self.bits), self.group).packed())
