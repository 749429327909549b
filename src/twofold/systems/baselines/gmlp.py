"""gmlp: a language model without attention, whose positions meet in gates of learned matrices.

Liu, Dai, So & Le 2021, "Pay Attention to MLPs", https://arxiv.org/abs/2105.08050
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import Pattern
from twofold.tasks.sequences import SequenceSystem


@baseline(
    "gmlp",
    title="Pay Attention to MLPs",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2105.08050",
    needs=("a language model without attention", "all-MLP language model"),
)
class Gmlp(SequenceSystem):
    """Language model of spatial gating units: no attention, a matrix over positions in every layer."""

    by_name: ClassVar[bool] = True

    gate_hidden: float = Field(3.0, gt=0, description="width inside a gate as a multiple of dim")

    def pattern(self) -> Pattern:
        return Pattern(tuple(self.layer(number) for number in range(self.layers)), self.dim, conv=self.conv)

    def layer(self, number: int) -> dict[str, Any]:
        """A layer of the pattern: here the gate alone."""
        return {"mixer": self.gate(self.gate_hidden, 1), "wiring": "single"}

    def gate(self, share: float, chunks: int) -> dict[str, Any]:
        """A gate whose width is a share of dim, cut to what divides into its chunks."""
        hidden = max(1, int(share * self.dim) // (2 * chunks)) * 2 * chunks
        return {"kind": "spatial-gate", "hidden": hidden, "max_len": self.length, "chunks": chunks}

    def small(self) -> Self:
        return replace(super().small(), layers=min(self.layers, 2))
