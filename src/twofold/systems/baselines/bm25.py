"""BM25: ranks documents by the rare words they share with the query.

Robertson et al. 1994, "Okapi at TREC-3". Scores by `bm25s`; identifiers are also split into their words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from twofold.catalog import Budget, baseline
from twofold.checkpoints.folder import Saved
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.search import LexicalModel


@baseline(
    "bm25",
    title="Okapi at TREC-3",
    tasks=("search",),
    source="https://trec.nist.gov/pubs/trec3/papers/city.ps.gz",
    needs=("keyword search", "full-text search without training", "lexical baseline"),
)
class Bm25(ModelSystem):
    """BM25: lexical search without training."""

    k1: float = Field(1.2, ge=0, description="how soon repeated words stop counting")
    b: float = Field(0.75, ge=0, le=1, description="how much long documents are held back")

    def fit(
        self,
        data: Any,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        model = LexicalModel(None, None, {"k1": self.k1, "b": self.b})
        return Fitted(model.remember(self.id, self.options()))

    @staticmethod
    def restore(saved: Saved) -> LexicalModel:
        """The model of a folder that was read."""
        return LexicalModel.restore(saved)
