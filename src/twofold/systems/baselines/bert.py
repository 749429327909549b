"""bert: the post-norm trunk with learned positions and biases, trained by filling in hidden tokens.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805, without the prediction of the next sentence.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import SequenceModel, presets
from twofold.parts.fitting import check_heads
from twofold.tasks.represent import MaskedSystem


@baseline(
    "bert",
    title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
    tasks=("represent",),
    source="https://arxiv.org/abs/1810.04805",
    needs=("pre-train an encoder on my texts", "plain masked language model"),
)
class BertTrunk(MaskedSystem):
    """Masked language model in BERT's shape: post-norm, learned positions, GELU, biases."""

    dim: int = Field(96, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")

    def network(self, vocab: int) -> SequenceModel:
        check_heads("bert", self.dim, self.heads, even=False)
        return presets.bert(
            vocab, self.dim, self.layers, self.heads, hidden=4 * self.dim, max_len=self.length, head="mlm"
        )

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=2, heads=2)  # type: ignore[call-arg]
