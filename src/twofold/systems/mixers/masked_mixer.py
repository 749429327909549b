"""masked-mixer: a decoder that mixes positions by learned causal matrices, so that states keep their input.

Badger 2024, "Masked Mixers for Language Generation and Retrieval", https://arxiv.org/abs/2409.01482. The mixer itself:
`twofold.parts.MaskedMixer`; the search for the input: `twofold.measure.inversion`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.parts import Pattern
from twofold.tasks.sequences import SequenceSystem


@system(
    "masked-mixer",
    number=213,
    title="Masked Mixers for Language Generation and Retrieval",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2409.01482",
    year=2024,
    needs=(
        "language model without attention",
        "states from which the input can be found again",
        "mix tokens by a learned matrix",
    ),
    simplified=(
        "4 layers on documentation in place of 8 on TinyStories and FineWeb",
        "heads and layers in turn with attention are offered; two matrices in a row with a nonlinearity between them "
        "and kernels over features are not",
        "the ranker that reads states of query and candidates is left out: retrieval is not measured",
    ),
)
class MaskedMixerDecoder(SequenceSystem):
    """Decoder whose positions are mixed by learned lower-triangular matrices instead of attention."""

    by_name: ClassVar[bool] = True

    mixer_heads: int = Field(1, ge=1, description="matrices in a layer, each for its share of the features")
    attention_every: int = Field(0, ge=0, description="one layer in so many is attention (a hybrid); 0: none")

    def pattern(self) -> Pattern:
        mixer: dict[str, Any] = {"kind": "masked-mixer", "max_len": self.length, "heads": self.mixer_heads}
        every = self.attention_every
        layers = [
            {"mixer": "attention" if every and i % every == every - 1 else mixer, "channel": "gelu"}
            for i in range(self.layers)
        ]
        return Pattern.read(layers, dim=self.dim, heads=self.heads, conv=self.conv)

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2))

    claim: ClassVar[Claim] = Claim(
        says="inputs are found again from the states of a masked mixer far better than from those of a Transformer",
        paper="trained Transformers' last states do not determine their input; those of masked mixers nearly do",
        arms=(
            Arm(
                "backbone",
                backbone=[{"channel": "gelu", "times": 4}],
                dim=96,
                length=64,
                batch=16,
                tokenizer="bpe",
                vocab=1024,
            ),
            Arm("masked-mixer", dim=96, layers=4, length=64, batch=16, tokenizer="bpe", vocab=1024),
        ),
        data="pydoc",
        metric="inversion_error",
        direction="lower",
        by=0.2,
        budget=Steps(400),
        repeats=3,
        setting={"texts": 48, "invert": (48, 32, 300)},
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        tune_by="bits_per_byte",
        minutes=5,
    )
