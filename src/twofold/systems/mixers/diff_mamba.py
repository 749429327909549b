"""diff-mamba: Mamba-2 blocks in pairs, one taken from the other, so that what both take in by mistake cancels.

Schneider, Zimerman & Nachmani 2025, "Differential Mamba", https://arxiv.org/abs/2507.06204. The mixer itself:
`twofold.parts.Differential`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Guard, Steps, system
from twofold.parts import Pattern
from twofold.tasks.sequences import SequenceSystem

_SHAPE = {"dim": 64, "layers": 2, "batch": 32, "length": 128}


@system(
    "diff-mamba",
    number=222,
    title="Differential Mamba",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2507.06204",
    year=2025,
    needs=(
        "a state-space model that finds things among noise",
        "better recall with Mamba",
        "differential attention or differential Mamba",
    ),
    simplified=(
        "2 layers of width 64 and made recall, in place of 130 to 370 million weights on The Pile",
        "w is drawn so that its sum has variance 1, not the width (spread changes it)",
        "subtraction inside the block, and without the norm (the paper's weaker forms), are not offered",
    ),
)
class DiffMamba(SequenceSystem):
    """Language model of differences of Mamba blocks: each layer takes a second block's output from a first's."""

    by_name: ClassVar[bool] = True

    inner: Literal["ssd", "s6"] = Field("ssd", description="what is doubled: Mamba-2 (ssd) or Mamba (s6)")
    expand: int = Field(1, ge=1, description="inner width of each of the two / dim; 1: as large as one plain block")
    state: int = Field(16, ge=1, description="height of a state")
    head_dim: int = Field(16, ge=1, description="width of a head (ssd)")
    spread: float = Field(1.0, ge=0, description="standard deviation of Σ w at the start")

    def pattern(self) -> Pattern:
        own = {"ssd": {"head_dim": self.head_dim, "chunk": 32}, "s6": {}}[self.inner]
        inner = {"kind": self.inner, "expand": self.expand, "state": self.state, **own}
        layers = [
            {
                "mixer": {"kind": "differential", "inner": inner, "layer": layer, "spread": self.spread},
                "wiring": "single",
            }
            for layer in range(1, self.layers + 1)
        ]
        return Pattern.read(layers, dim=self.dim, heads=self.heads, conv=self.conv)

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=2, state=4)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="differences of Mamba-2 blocks recall more than Mamba-2 of the same size and state after the same steps",
        paper="retrieval in noise (BABILong) clearly better than Mamba's, and perplexity lower on three data sets",
        arms=(
            Arm(
                "backbone",
                **_SHAPE,
                backbone=[
                    {
                        "mixer": {"kind": "ssd", "state": 16, "head_dim": 16, "groups": 2, "chunk": 32},
                        "wiring": "single",
                        "times": 2,
                    }
                ],
            ),
            Arm("diff-mamba", **_SHAPE),
        ),
        data="mqar(time=64, pairs=8, symbols=16)",
        task="solve",
        metric="accuracy",
        by=0.05,
        budget=Steps(300),
        guards=(Guard("accuracy", "baseline", at_least=0.3, at_most=0.9),),
        repeats=3,
        tune={"lr": (1e-2, 2e-2, 4e-2)},
        tune_by="log_likelihood",
        minutes=6,
    )
