"""AbbIE: a causal stack whose middle is applied several times, more often at test time where that pays.

Aleksandrov et al. 2025, "AbbIE: Autoregressive Block-Based Iterative Encoder for Efficient Sequence
Modeling", https://arxiv.org/abs/2507.08567
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.parts import Pattern
from twofold.tasks.sequences import SequenceSystem


@system(
    "abbie",
    number=29,
    title="AbbIE: Autoregressive Block-Based Iterative Encoder for Efficient Sequence Modeling",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2507.08567",
    year=2025,
    needs=(
        "spend more computation at test time without more weights",
        "language model with shared layers",
        "a deeper network with the same number of parameters",
    ),
    simplified=(
        "4 layers on documentation in place of 350 million weights",
        "where the paper's norms stand is not said; here: RMS norm of the state, none of the input that is added to it",
        "iterations do not stop by themselves when predictions agree; set_iterations sets their number",
    ),
)
class Abbie(SequenceSystem):
    """Decoder whose middle layers are gone through several times with the same weights."""

    by_name: ClassVar[bool] = True

    head_layers: int = Field(1, ge=0, description="layers in front of the loop")
    tail_layers: int = Field(1, ge=0, description="layers behind the loop; all others are in it")
    iterations: int = Field(2, ge=1, description="how often the loop is gone through")
    inject: bool = Field(True, description="add the loop's input again before each iteration (AbbIE-D); off: AbbIE-C")

    def pattern(self) -> Pattern:
        body = self.layers - self.head_layers - self.tail_layers
        if body < 1:
            raise UserError(
                f"abbie: layers={self.layers} leaves none for the loop behind {self.head_layers} in front and "
                f"{self.tail_layers} behind; use layers={self.head_layers + self.tail_layers + 1} or more"
            )
        loop = {"loop": [{"times": body}], "iterations": self.iterations, "inject": self.inject}
        ends = [[{"times": count}] if count else [] for count in (self.head_layers, self.tail_layers)]
        return Pattern.read([*ends[0], loop, *ends[1]], dim=self.dim, heads=self.heads, conv=self.conv)

    def small(self) -> Self:
        return super().small().changed(layers=self.head_layers + self.tail_layers + 1)

    claim: ClassVar[Claim] = Claim(
        says="going through the middle layers twice predicts text better than going through them once, with as many "
        "weights",
        paper="up to 5 % less perplexity than a standard Transformer of 350 million weights",
        arms=(
            Arm("backbone", dim=64, layers=4, length=128, batch=16),
            Arm("abbie", dim=64, layers=4, length=128, batch=16),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.01,
        budget=Steps(400),
        repeats=5,
        setting={"texts": 100},
        side=(
            Arm("backbone", dim=64, layers=6, length=128, batch=16),
            Arm("abbie", dim=64, layers=4, length=128, batch=16, inject=False),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=12,
    )
