"""Language data: texts, split so that no document is both trained on and tested."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace

import numpy as np

from twofold.data.rows import Rows
from twofold.data.splits import split
from twofold.errors import UserError
from twofold.tasks.backbone_names import SHORTEST

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class LanguageData:
    """Texts, each in one part.

    Args:
        name, source, fingerprint: of the data set.
        texts: none empty.
        parts: "train", "validation" or "test" of each.
        notes: what was left out, for a person to know.
    """

    name: str
    source: str
    fingerprint: str
    texts: tuple[str, ...]
    parts: np.ndarray
    notes: tuple[str, ...] = ()

    def part(self, part: str) -> list[str]:
        """A part's texts, in order.

        Raises:
            UserError: it has none.
        """
        found = [self.texts[i] for i in np.flatnonzero(self.parts == part)]
        if not found:
            raise UserError(f"{self.name}: no {part} texts; give more rows, or a split column with {part} rows")
        return found

    @classmethod
    def from_rows(cls, rows: Rows) -> LanguageData:
        """From rows with a `text` column; their own split is kept, else rows are split by group.

        Raises:
            UserError: no such column, or nothing but empty texts.
        """
        rows.require("text")
        texts = rows.columns["text"]
        usable = [i for i, text in enumerate(texts) if text.strip()]
        if not usable:
            raise UserError(f"{rows.name}: every text is empty")
        left_out = len(texts) - len(usable)
        notes = (f"{left_out} empty texts were left out",) if left_out else ()
        kept = rows.take(usable)
        kept = kept if kept.splits is not None else split(kept)
        parts = np.array(kept.splits, dtype="<U10")
        return cls(rows.name, rows.source, rows.fingerprint, tuple(kept.columns["text"]), parts, notes)

    def shorter_than(self, length: int, pieces: bool) -> str | None:
        """Why the training texts give no window of `length` tokens, as far as that is known without a tokenizer; None:
        they may.

        Args:
            pieces: tokens are pieces of words, of one or more bytes each; else they are bytes.
        """
        most = least = 0  # of tokens: with a start token each, as many as bytes, and at least one a word
        for text in itertools.compress(self.texts, self.parts == "train"):
            most += 1 + len(text.encode("utf-8", "surrogatepass"))
            if most >= length:
                return None
            least += 1 + len(text.split())
        have, fits = (f"at most {most}", least) if pieces else (str(most), most)
        fix = f"use length={fits} or less, or give more text" if fits >= SHORTEST else "give more text"
        return f"the training texts have {have} tokens, a window needs {length}; {fix}"

    def cut(self, share: float) -> LanguageData:
        """Keeps about that share of each part's texts (at least 8), the same ones every time."""
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in self.texts]
        keep: list[int] = []
        for part in PARTS:
            members = sorted(np.flatnonzero(self.parts == part).tolist(), key=keys.__getitem__)
            keep += members[: max(8, round(len(members) * share))]
        keep.sort()
        return replace(self, texts=tuple(self.texts[i] for i in keep), parts=self.parts[keep])
