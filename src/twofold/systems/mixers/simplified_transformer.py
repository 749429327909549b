"""Simplified transformer blocks: no residual around attention, no value and output maps, one norm.

He & Hofmann 2023, "Simplifying Transformer Blocks", https://arxiv.org/abs/2311.01906
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.parts import Pattern
from twofold.tasks.sequences import SequenceSystem


@system(
    "simplified-transformer",
    number=60,
    title="Simplifying Transformer Blocks",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2311.01906",
    year=2023,
    needs=(
        "a transformer with fewer weights",
        "remove residual connections and value projections",
        "simpler transformer block",
    ),
    simplified=(
        "six layers of width 64 on documentation in place of 18 of width 768 on code",
        "arms between the usual block and SAS-P (value maps frozen at the identity) are not offered",
        "the residual gain of the feed-forward part is one number for each block, and starts at 0.1 at any depth",
        "the value map of the first block, which the authors' code keeps, is left out as those of all others",
    ),
)
class SimplifiedTransformer(SequenceSystem):
    """Decoder of blocks without residual around attention and without value and output maps."""

    by_name: ClassVar[bool] = True

    block: Literal["sas", "sas-p"] = Field(
        "sas-p", description="attention then feed-forward part, or both side by side"
    )
    channel: Literal["relu", "gelu", "swiglu", "geglu"] = Field("gelu", description="feed-forward part")

    def pattern(self) -> Pattern:
        layer = {
            "mixer": "shaped-attention",
            "position": "rope",
            "channel": self.channel,
            "wiring": self.block,
            "times": self.layers,
        }
        return Pattern.read([layer], dim=self.dim, heads=self.heads, conv=self.conv)

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2))

    claim: ClassVar[Claim] = Claim(
        says="blocks without residual, value and output maps learn text as well as the usual ones with 15 % fewer "
        "weights",
        paper="the usual loss per update with 15 % more throughput and 15 % fewer weights (18 layers, CodeParrot)",
        arms=(
            Arm("backbone", backbone=[{"channel": "gelu", "times": 6}], dim=64, length=128, batch=16),
            Arm("simplified-transformer", dim=64, layers=6, length=128, batch=16),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=-0.02,
        parity=True,
        saving=Saving("parameters", 0.85),
        budget=Steps(400),
        repeats=3,
        setting={"texts": 100},
        side=(Arm("simplified-transformer", dim=64, layers=6, length=128, batch=16, block="sas"),),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=6,
    )
