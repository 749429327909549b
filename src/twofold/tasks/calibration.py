"""Texts that a trained network is looked at with before it is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twofold.data import batches as batching
from twofold.data.rows import Rows, is_empty
from twofold.errors import UserError
from twofold.surgery import Batch
from twofold.tasks.model import Model

_LONGEST_TOKEN = 32  # characters: texts are cut at so many for each token before they are tokenised


@dataclass(frozen=True)
class Calibration:
    """Texts made ready to be run through a network.

    Attributes:
        batches: ids and which are real, texts of like length together.
        texts: how many.
        tokens: real tokens in all.
    """

    batches: Sequence[Batch]
    texts: int
    tokens: int

    @property
    def length(self) -> int:
        """Mean number of tokens of a text: the length at which operations are counted."""
        return max(1, round(self.tokens / self.texts))


def calibrate(model: Model, rows: Rows, samples: int, tokens: int, seed: int) -> Calibration:
    """A sample of the rows' texts as batches, in the order of their lengths.

    Args:
        model: whose tokenizer is used.
        rows: texts in the column `text`, or `query` and `document`. No label is read.
        samples: how many texts, at most.
        tokens: texts are cut at this many.
        seed: of the sample.

    Raises:
        UserError: the model reads no text, or the rows hold none.
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise UserError("calibration runs on text, and this model has no tokenizer")
    texts = texts_of(rows)
    chosen = np.random.default_rng(seed).permutation(len(texts))[:samples]
    cut = tokens * _LONGEST_TOKEN
    sequences = tokenizer.encode([texts[i][:cut] for i in chosen], max_len=tokens)
    lengths = [len(s) for s in sequences]
    groups = batching.buckets(lengths)
    padded = [batching.pad([sequences[i] for i in group], tokenizer.pad or 0) for group in groups]
    return Calibration(padded, len(sequences), sum(lengths))


def texts_of(rows: Rows) -> list[str]:
    """Every text of the column `text`, or else of `query` and `document`; empty ones left out.

    Raises:
        UserError: no such column, or nothing in it.
    """
    names = [n for n in ("text",) if n in rows.columns] or [n for n in ("query", "document") if n in rows.columns]
    if not names:
        rows.require("text")
    texts = [str(value) for name in names for value in rows.columns[name] if not is_empty(value)]
    if not texts:
        raise UserError(f"{rows.source}: the column {' and '.join(names)} is empty; give texts to calibrate on")
    return texts
