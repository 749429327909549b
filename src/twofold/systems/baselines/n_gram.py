"""n-gram: bytes predicted from how often they followed the last few, smoothed after Kneser and Ney.

Interpolated Kneser–Ney with one discount an order, `n₁ / (n₁ + 2 n₂)`: Kneser & Ney 1995, "Improved backing-off for
M-gram language modeling"; Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling",
https://doi.org/10.1006/csla.1999.0128
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from twofold.catalog import Budget, baseline
from twofold.checkpoints.folder import Saved
from twofold.errors import UserError
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.language import LanguageData, LanguageModel, Score
from twofold.tasks.language.model import sizes, utf8

_COUNTS = "counts.npz"


def grams(text: bytes, order: int) -> np.ndarray:
    """The `order` bytes that end at each byte, as one number; before the text stand zeros. At most 8 fit."""
    padded = np.frombuffer(bytes(order - 1) + text, np.uint8).astype(np.uint64)
    found = np.zeros(len(text), np.uint64)
    for place in range(order):
        found = (found << np.uint64(8)) | padded[place : place + len(text)]
    return found


@dataclass(frozen=True)
class Counts:
    """How often each byte follows each context of one length.

    Args:
        grams: contexts with the byte behind them, sorted, and how often each was seen.
        contexts: sorted; what was seen behind each, in all (`totals`) and different (`types`).
        discount: what is taken off every count.
    """

    grams: np.ndarray
    seen: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    types: np.ndarray
    discount: float

    @classmethod
    def of(cls, grams: np.ndarray, seen: np.ndarray) -> Counts:
        """From sorted, different grams and their counts."""
        contexts, first, types = np.unique(grams >> np.uint64(8), return_index=True, return_counts=True)
        totals = np.add.reduceat(seen, first) if len(seen) else seen
        once, twice = int((seen == 1).sum()), int((seen == 2).sum())
        return cls(grams, seen, contexts, totals, types, once / (once + 2 * twice) if once else 0.5)

    def refined(self, grams: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """The probability of the last byte of each gram, given that from contexts one byte shorter."""
        seen = _looked_up(self.grams, self.seen, grams)
        contexts = grams >> np.uint64(8)
        totals = _looked_up(self.contexts, self.totals, contexts)
        types = _looked_up(self.contexts, self.types, contexts)
        mixed = np.maximum(seen - self.discount, 0) + self.discount * types * lower
        return np.where(totals > 0, mixed / np.maximum(totals, 1), lower)


def orders(grams: np.ndarray, seen: np.ndarray, order: int) -> list[Counts]:
    """The counts of every order, from no context to the longest: below the longest, a gram counts once for each
    different byte in front of it."""
    found = [Counts.of(grams, seen)]
    for shorter in range(order - 1, 0, -1):
        mask = np.uint64(2 ** (8 * shorter) - 1)
        grams, seen = np.unique(grams & mask, return_counts=True)
        found.insert(0, Counts.of(grams, seen))
    return found


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


class NgramModel(LanguageModel):
    """No network: counts of what followed what."""

    order: int = 1
    counts: list[Counts]

    def probabilities(self, text: bytes) -> np.ndarray:
        """Of each byte, given those before it."""
        whole = grams(text, self.order)
        found = np.full(len(text), 1 / 256)
        for length, counts in enumerate(self.counts, 1):
            found = counts.refined(whole & np.uint64(2 ** (8 * length) - 1), found)
        return found

    def score(self, texts: Sequence[str], stride: int | None = None) -> Score:
        """The negative logarithm of each text's probability, in nats. `stride` does not apply."""
        nats = [-np.log(self.probabilities(utf8(text))).sum() for text in texts]
        return Score(np.array(nats, np.float64), sizes(texts))

    def generate(self, *args: Any, **settings: Any) -> str | list[str]:
        raise UserError(
            "n-gram only measures texts; to generate, give a network (out/arms/…/model), or fit one: decoder"
        )

    def _files(self, target: Path) -> None:
        np.savez_compressed(target / _COUNTS, grams=self.counts[-1].grams, seen=self.counts[-1].seen)

    @classmethod
    def restore(cls, saved: Saved) -> NgramModel:
        model = super().restore(saved)
        model.order = int(model.spec["order"])
        model.counts = orders(*_stored(saved.path / _COUNTS), model.order)
        return model


def _stored(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The grams of a file and how often each was seen.

    Raises:
        UserError: it is missing, or does not hold them.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found, seen = stored["grams"], stored["seen"]
        ordered = found.dtype == np.uint64 and found.ndim == 1 and bool((found[1:] > found[:-1]).all())
        whole = ordered and seen.dtype.kind == "i" and seen.shape == found.shape and bool((seen > 0).all())
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, zlib.error):
        whole = False
    if not whole:
        raise UserError(f"{path} is damaged or missing; fit the model again")
    return found, seen


@baseline(
    "n-gram",
    title="Byte n-grams with Kneser–Ney smoothing",
    tasks=("language",),
    source="https://doi.org/10.1006/csla.1999.0128",
    needs=("language model by counting", "bits per byte without training", "how predictable is my text"),
)
class Ngram(ModelSystem):
    """Predicts each byte from how often it followed the bytes before it, in the training text."""

    order: int = Field(6, ge=1, le=8, description="bytes that are counted together: the predicted one and its context")
    limit: int = Field(2**25, ge=1, description="bytes of training text that are counted, at most")

    def fit(
        self,
        data: LanguageData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        pieces, room = [], self.limit
        for text in data.part("train"):
            pieces.append(grams(utf8(text)[:room], self.order))
            room -= len(pieces[-1])
            if not room:
                break
        found, seen = np.unique(np.concatenate(pieces), return_counts=True)
        model = NgramModel(None, None, {"length": self.order, "order": self.order})
        model.order, model.counts = self.order, orders(found, seen, self.order)
        return Fitted(model.remember(self.id, self.options()))

    @staticmethod
    def restore(saved: Saved) -> NgramModel:
        """The model of a folder that was read."""
        return NgramModel.restore(saved)
