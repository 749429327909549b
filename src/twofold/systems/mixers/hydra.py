"""hydra: an encoder whose layers mix both ways by quasiseparable matrices, in place of attention.

Hwang, Lahoti, Dao & Gu 2024, "Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers",
https://arxiv.org/abs/2407.09941. The mixer itself: `twofold.parts.Hydra`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.parts import FFN, Hydra, MLMHead, SequenceModel, TokenEmbedding, pattern, presets
from twofold.parts.fitting import check_stretch, odd
from twofold.tasks.represent import MaskedSystem


@system(
    "hydra",
    number=207,
    title="Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers",
    tasks=("represent",),
    source="https://arxiv.org/abs/2407.09941",
    year=2024,
    needs=(
        "an encoder for long texts that costs no more per token than for short ones",
        "two-way Mamba",
        "replace attention in an encoder by a state-space model",
    ),
    simplified=(
        "2 layers of width 64 on documentation in place of 70 to 110 million weights on C4 and ImageNet",
        "the paper's other classes of matrix (Toeplitz, Vandermonde, Cauchy, low-rank) are not offered as mixers",
        "masked tokens are judged, not GLUE",
    ),
)
class HydraEncoder(MaskedSystem):
    """Masked language model whose mixer is two state-space scans, one each way, joined by a free diagonal."""

    dim: int = Field(96, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    expand: int = Field(2, ge=1, description="inner width of the mixer / dim")
    state: int = Field(16, ge=1, description="height of a head's state, in each direction")
    head_dim: int = Field(16, ge=1, description="width of a head")
    kernel: int = Field(7, ge=1, description="of the convolution to both sides, odd")
    chunk: int = Field(32, ge=1, description="tokens that are mixed by one matrix; changes speed only")
    hidden: int | None = Field(
        None,
        ge=1,
        description="width of the gated feed-forward part; by default such that a block has as many "
        "parameters as one of attention and its usual feed-forward part",
    )

    def network(self, vocab: int) -> SequenceModel:
        check_stretch(self.id, "kernel", self.kernel, self.length, odd)
        mixer = Hydra(self.dim, self.expand, self.state, self.head_dim, kernel=self.kernel, chunk=self.chunk)
        channel = FFN(self.dim, self.hidden or self.matched(mixer), "silu", gate=True, bias=False)
        stack = pattern(self.dim, [{"mixer": mixer, "channel": channel, "times": self.layers}])
        return SequenceModel(TokenEmbedding(vocab, self.dim), stack, MLMHead(self.dim, vocab, "gelu", 1e-12))

    def matched(self, mixer: Hydra) -> int:
        """The feed-forward width at which a block is as large as one of attention."""
        width = presets.gated_width(self.dim)
        allowed = 4 * self.dim**2 + 3 * self.dim * width - sum(p.numel() for p in mixer.parameters())
        hidden = round(allowed / (3 * self.dim))
        if hidden < 1:
            raise UserError(
                f"hydra: at state={self.state} and expand={self.expand} the mixer alone has more parameters than a "
                "block of attention, which is what hidden is chosen by; lower state, or give hidden"
            )
        return hidden

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=2, state=4, hidden=None)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="Hydra fills in hidden tokens better than attention in blocks of the same size after the same steps",
        paper="GLUE 84.3 against BERT's 83.5 and ImageNet 81.0 against ViT's 78.8, as a drop-in for attention",
        arms=(
            Arm("encoder", dim=64, layers=2, vocab=1024, length=128, batch=16),
            Arm("hydra", dim=64, layers=2, vocab=1024, length=128, batch=16),
        ),
        data="pydoc",
        metric="masked_loss",
        direction="lower",
        by=0.03,
        budget=Steps(300),
        repeats=3,
        tune={"lr": (2e-3, 4e-3, 8e-3)},
        minutes=6,
    )
