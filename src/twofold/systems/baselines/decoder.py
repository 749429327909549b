"""decoder: a plain Llama-shaped language model, the yardstick for other mixers, channels and positions.

Pre-norm blocks, rotary positions, RMS norms and gated SiLU channels, tied embeddings: Touvron et al. 2023,
https://arxiv.org/abs/2302.13971
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, PositiveFloat

from twofold.catalog import baseline
from twofold.parts import FFN, SequenceModel, presets, set_channels
from twofold.parts.fitting import check_heads
from twofold.parts.linear import kinds
from twofold.tasks.language import LanguageSystem
from twofold.tasks.options import LinearKinds


@baseline(
    "decoder",
    title="LLaMA: Open and Efficient Foundation Language Models",
    tasks=("language",),
    source="https://arxiv.org/abs/2302.13971",
    needs=("train a small language model", "plain transformer decoder", "generate text like mine"),
)
class Decoder(LanguageSystem):
    """Plain transformer decoder: rotary positions, RMS norm, SwiGLU."""

    dim: int = Field(128, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    kv_heads: int | None = Field(None, ge=1, description="heads of keys and values, shared by groups of query heads")
    channel: Literal["swiglu", "geglu", "gelu", "relu"] = Field("swiglu", description="feed-forward part")
    hidden: tuple[PositiveFloat, ...] | None = Field(
        None,
        min_length=1,
        description="width of the feed-forward parts as multiples of dim, repeated over the layers; by default 4, "
        "and 8/3 where they are gated",
    )
    position: Literal["rope", "sinusoid", "alibi", "t5", "none"] = Field("rope", description="how places are known")
    linear: LinearKinds = Field("dense", description="kind of linear maps: one for all, or {ffn: …, attn: …}")

    def small(self) -> Self:
        return replace(super().small(), dim=16 * self.heads, layers=min(self.layers, 2))  # type: ignore[call-arg]

    def network(self, vocab: int) -> SequenceModel:
        check_heads(self.id, self.dim, self.heads)
        net = presets.decoder(
            vocab,
            self.dim,
            self.layers,
            self.heads,
            self.kv_heads,
            max_len=self.length,
            position=self.position,
            linear=self.linear,
            **presets.CHANNELS[self.channel],
        )
        if self.hidden is not None:
            widths, kind = [round(self.dim * share) for share in self.hidden], kinds(self.linear)["ffn"]
            made = presets.CHANNELS[self.channel]
            set_channels(
                net, lambda layer, _: FFN(self.dim, widths[layer % len(widths)], bias=False, linear=kind, **made)
            )
        return net
