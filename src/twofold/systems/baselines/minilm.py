"""MiniLM: a small pretrained sentence encoder, used as it is.

Wang et al. 2020, "MiniLM", https://arxiv.org/abs/2002.10957; the checkpoint all-MiniLM-L6-v2 was trained on about
a billion sentence pairs, which probably include public docstring and code pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from twofold.catalog import Budget, baseline
from twofold.tasks import Fitted, ModelSystem, load


@baseline(
    "minilm",
    title="all-MiniLM-L6-v2",
    tasks=("search",),
    source="https://arxiv.org/abs/2002.10957",
    needs=("search by meaning without training", "pretrained sentence embeddings"),
)
class MiniLm(ModelSystem):
    """A pretrained sentence encoder, untouched."""

    query_tokens: int = Field(24, ge=2, le=512, description="queries are cut here")
    document_tokens: int = Field(96, ge=2, le=512, description="documents are cut here")

    def fit(
        self,
        data: Any,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        model = load("minilm")
        model.spec |= {"query_tokens": self.query_tokens, "document_tokens": self.document_tokens}
        return Fitted(model.remember(self.id, self.options()))
