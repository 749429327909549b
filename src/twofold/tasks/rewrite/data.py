"""Sources with their targets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from twofold.data.rows import Rows
from twofold.data.splits import split
from twofold.errors import UserError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class RewriteData:
    """Texts with what they are to become, each in one part.

    Args:
        name, source, fingerprint: of the data.
        sources, targets: none empty.
        parts: "train", "validation" or "test" of each.
    """

    name: str
    source: str
    fingerprint: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    parts: NDArray[np.str_]

    def part(self, part: str) -> tuple[list[str], list[str]]:
        """Sources and targets of a part (UserError where it has none)."""
        chosen = np.flatnonzero(self.parts == part)
        if not len(chosen):
            raise UserError(f"{self.name}: no {part} rows; give more, or a split column with {part} rows")
        return [self.sources[i] for i in chosen], [self.targets[i] for i in chosen]

    @classmethod
    def from_rows(cls, rows: Rows) -> RewriteData:
        """From rows with `source` and `target`; their own split is kept, else rows are split by group.

        Raises:
            UserError: a column is missing, or every row is empty.
        """
        rows.require("source", "target")
        kept = rows.filled("source", "target")
        kept = kept if kept.splits is not None else split(kept)
        sources, targets = (tuple(map(str, kept.columns[name])) for name in ("source", "target"))
        return cls(rows.name, rows.source, rows.fingerprint, sources, targets, np.array(kept.splits, dtype="<U10"))

    def cut(self, share: float) -> RewriteData:
        """About that share of each part, at least 8 rows of it, always the same ones."""
        keep: list[int] = []
        for part in PARTS:
            members = np.random.default_rng(0).permutation(np.flatnonzero(self.parts == part))
            keep += sorted(members[: max(8, round(len(members) * share))].tolist())
        sources, targets = (tuple(texts[i] for i in keep) for texts in (self.sources, self.targets))
        return replace(self, sources=sources, targets=targets, parts=self.parts[keep])


@dataclass(frozen=True)
class TextPairs:
    """Sources as ids with which of them are real, `[B, S]`; targets as ids `[B, T]` with which of them count."""

    source: Int[Tensor, "batch source"]
    real: Bool[Tensor, "batch source"]
    target: Int[Tensor, "batch time"]
    counted: Bool[Tensor, "batch time"]

    @property
    def tokens(self) -> int:
        return int(self.real.sum()) + int(self.counted.sum())

    def to(self, device: torch.device) -> TextPairs:
        """The same on another device."""
        return TextPairs(*(x.to(device) for x in (self.source, self.real, self.target, self.counted)))

    def shard(self, rank: int, world: int) -> TextPairs:
        """One process's share."""
        return TextPairs(*(x[rank::world] for x in (self.source, self.real, self.target, self.counted)))
