"""mambabyte: a language model on bytes, without tokens, positions or patches, whose memory is a selective state space.

Wang, Gangavarapu, Yan & Rush 2024, "MambaByte: Token-free Selective State Space Model",
https://arxiv.org/abs/2401.13660. The mixer itself: `twofold.parts.S6`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.parts import S6, SequenceModel, Single, TiedHead, TokenEmbedding, pattern
from twofold.parts.fitting import check_stretch
from twofold.tasks.language import LanguageSystem


@system(
    "mambabyte",
    number=140,
    title="MambaByte: Token-free Selective State Space Model",
    tasks=("language",),
    source="https://arxiv.org/abs/2401.13660",
    year=2024,
    needs=(
        "a language model without a tokenizer",
        "train on files of any kind, byte by byte",
        "generation whose cost per byte does not grow with the context",
        "Mamba language model",
    ),
    simplified=(
        "about 0.1 million weights and a context of 256 bytes in place of 353 to 972 million and 8,192",
        "a subword model that drafts bytes (the paper's later version) is not offered",
        "compared with a byte transformer of equal operations, not with MegaByte",
    ),
)
class MambaByte(LanguageSystem):
    """Language model on bytes: a stack of Mamba blocks and nothing else; a state of constant size for all the past."""

    dim: int = Field(128, ge=8, description="width")
    layers: int = Field(6, ge=1, description="Mamba blocks; two of them cost about as much as one of a transformer")
    expand: int = Field(2, ge=1, description="inner width / dim")
    state: int = Field(16, ge=1, description="numbers remembered for each inner channel")
    kernel: int = Field(4, ge=1, description="of the short convolution")

    def network(self, vocab: int) -> SequenceModel:
        check_stretch(self.id, "kernel", self.kernel, self.length)
        mixer = S6(self.dim, self.expand, self.state, self.kernel)
        stack = pattern(self.dim, [{"mixer": mixer, "times": self.layers}], wiring=Single())
        return SequenceModel(TokenEmbedding(vocab, self.dim), stack, TiedHead(vocab))

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=2, state=4)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="a stack of Mamba blocks predicts bytes better than a byte transformer of as many operations",
        paper="bits per byte on PG19 0.930 (353M) against 0.971 of MegaByte and 1.006 of a byte transformer, at equal "
        "compute; on a par with subword models",
        arms=(
            Arm("decoder", dim=64, layers=2, batch=8),
            Arm("mambabyte", dim=64, layers=4, state=8, batch=8),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.03,
        budget=Steps(250),
        repeats=3,
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        minutes=6,
    )
