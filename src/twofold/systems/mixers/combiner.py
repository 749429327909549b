"""combiner: a decoder with full attention at O(T √T): near positions directly, earlier blocks as regions.

Ren, Dai, Dai, Yang, Leskovec, Schuurmans & Dai 2021, "Combiner: Full Attention Transformer with Sparse Computation
Cost", https://arxiv.org/abs/2107.05768. The mixer itself: `twofold.parts.Combiner`.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.parts import Pattern
from twofold.parts.fitting import stretch
from twofold.tasks.sequences import SequenceSystem


@system(
    "combiner",
    number=257,
    title="Combiner: Full Attention Transformer with Sparse Computation Cost",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2107.05768",
    year=2021,
    needs=(
        "full attention at less than quadratic cost",
        "sparse attention that leaves nothing out",
        "language model for long sequences",
    ),
    simplified=(
        "the fixed layout alone; logsparse and axial regions are not offered",
        "regions are pooled by maxima alone, not by means or learned weights",
        "documentation at 256 bytes in place of CIFAR-10, ImageNet-64, Wiki-40B and enwik8",
    ),
)
class CombinerDecoder(SequenceSystem):
    """Decoder whose tokens read their own block directly and every earlier block as one region."""

    by_name: ClassVar[bool] = True

    width: int | None = Field(None, ge=1, description="of a block; by default about √length")

    def pattern(self) -> Pattern:
        width = stretch(self.id, "width", self.width, self.length, round(self.length**0.5))
        mixer = {"kind": "combiner", "width": width}
        return Pattern.read([{"mixer": mixer, "times": self.layers}], dim=self.dim, heads=self.heads, conv=self.conv)

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2), width=4)

    claim: ClassVar[Claim] = Claim(
        says="reading earlier blocks as regions predicts text better than reading a few positions of each of them",
        paper="enwik8 in 1.27 bits a byte against 1.29 of the fixed sparse pattern it starts from, at the same cost",
        arms=(
            Arm(
                "backbone",
                backbone=[{"mixer": {"kind": "fixed-attention", "stride": 16, "summary": 1}, "times": 2}],
                dim=64,
                length=256,
                batch=8,
            ),
            Arm("combiner", dim=64, layers=2, length=256, batch=8, width=16),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.01,
        budget=Steps(300),
        repeats=5,
        setting={"texts": 60},
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=5,
    )
