"""t5: an encoder–decoder on pieces of words, T5's shape at any size.

Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
https://arxiv.org/abs/1910.10683
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.data.tokenizers import Tokenizer, train_likelihood
from twofold.tasks.rewrite import RewriteSystem


@baseline(
    "t5",
    title="Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
    tasks=("rewrite",),
    source="https://arxiv.org/abs/1910.10683",
    needs=("rewrite texts with a small encoder and decoder", "translate, correct or shorten texts"),
)
class T5(RewriteSystem):
    """Encoder–decoder on pieces of words, split by likelihood."""

    vocab: int = Field(1000, ge=300, description="pieces of the tokenizer, learned from the texts")
    mean_span: float = Field(3.0, ge=1, description="tokens in a hidden span, on average")

    def tokens(self, texts: Sequence[str]) -> Tokenizer:
        return train_likelihood(texts, self.vocab)

    def small(self) -> Self:
        return replace(super().small(), vocab=300)  # type: ignore[call-arg]
