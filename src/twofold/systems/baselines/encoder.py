"""encoder: a plain pre-norm two-way transformer, trained by filling in hidden tokens: the yardstick for other mixers.

The blocks of the decoder baseline (rotary positions, RMS norms, gated SiLU channels; Touvron et al. 2023,
https://arxiv.org/abs/2302.13971) without its causal mask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import SequenceModel, presets
from twofold.parts.fitting import check_heads
from twofold.tasks.represent import MaskedSystem


@baseline(
    "encoder",
    title="LLaMA's blocks, two-way",
    tasks=("represent",),
    source="https://arxiv.org/abs/2302.13971",
    needs=("pre-train a plain encoder on my texts", "two-way attention to compare other mixers with"),
)
class Encoder(MaskedSystem):
    """Masked language model of plain two-way attention: pre-norm, rotary positions, RMS norm, SwiGLU."""

    dim: int = Field(96, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    channel: Literal["swiglu", "geglu", "gelu", "relu"] = Field("swiglu", description="feed-forward part")

    def network(self, vocab: int) -> SequenceModel:
        check_heads("encoder", self.dim, self.heads)
        return presets.encoder(vocab, self.dim, self.layers, self.heads, head="mlm", **presets.CHANNELS[self.channel])

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=2, heads=2)  # type: ignore[call-arg]
