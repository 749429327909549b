"""Captioned images as sequences, and windows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from twofold.data.batches import Order
from twofold.data.images import pixels
from twofold.data.rows import Rows
from twofold.data.splits import split
from twofold.data.tokenizers.mixed import PAD, MixedTokenizer, cells
from twofold.errors import UserError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class DrawData:
    """Captions with images, each in one part.

    Args:
        name, source, fingerprint: of the data.
        captions: of the images.
        images: uint8 `[n, height, width, channels]`.
        parts: "train", "validation" or "test" of each.
    """

    name: str
    source: str
    fingerprint: str
    captions: tuple[str, ...]
    images: NDArray[np.uint8]
    parts: NDArray[np.str_]

    modality = "image"

    def part(self, part: str) -> tuple[list[str], NDArray[np.uint8]]:
        """Captions and images of a part (UserError where it has none)."""
        chosen = np.flatnonzero(self.parts == part)
        if not len(chosen):
            raise UserError(f"{self.name}: no {part} images; give more rows, or a split column with {part} rows")
        return [self.captions[i] for i in chosen], self.images[chosen]

    @classmethod
    def from_rows(cls, rows: Rows) -> DrawData:
        """From rows with `image`, and `text` or else `label` as the caption; their own split is kept.

        Raises:
            UserError: a column is missing, or an image cannot be read.
        """
        rows.require("image")
        caption = "text" if "text" in rows.columns else "label"
        rows.require(caption)
        kept = rows.filled(caption)
        kept = kept if kept.splits is not None else split(kept)
        captions = tuple(str(text) for text in kept.columns[caption])
        images = pixels(kept.columns["image"])
        return cls(rows.name, rows.source, rows.fingerprint, captions, images, np.array(kept.splits, dtype="<U10"))

    def cut(self, share: float) -> DrawData:
        """About that share of each part, at least 8 of it, always the same ones."""
        keep: list[int] = []
        for part in PARTS:
            members = np.random.default_rng(0).permutation(np.flatnonzero(self.parts == part))
            keep += sorted(members[: max(8, round(len(members) * share))].tolist())
        captions = tuple(self.captions[i] for i in keep)
        return replace(self, captions=captions, images=self.images[keep], parts=self.parts[keep])


@dataclass(frozen=True)
class NextBatch:
    """Windows as cells `[B, T, 9]`, and the token that follows each, `[B]`."""

    cells: Int[Tensor, "batch time nine"]
    targets: Int[Tensor, "batch"]

    @property
    def tokens(self) -> int:
        return self.cells.shape[0] * self.cells.shape[1]

    def to(self, device: torch.device) -> NextBatch:
        """The same on another device."""
        return NextBatch(self.cells.to(device), self.targets.to(device))

    def shard(self, rank: int, world: int) -> NextBatch:
        """One process's share."""
        return NextBatch(self.cells[rank::world], self.targets[rank::world])


class WindowsBefore:
    """Every token of many captioned images with the window of `length` tokens before it (padding in front).

    Args:
        pixels_only: only tokens that are pixels are asked for.
    """

    def __init__(
        self,
        tokenizer: MixedTokenizer,
        captions: Sequence[str],
        images: NDArray[np.uint8],
        length: int,
        pixels_only: bool,
    ) -> None:
        self.length = length
        blank = np.zeros((length - 1, 9), np.int64) + PAD
        stream: list[NDArray[np.int64]] = []
        ends: list[NDArray[np.int64]] = []
        targets: list[NDArray[np.int64]] = []
        begin = 0
        for caption, image in zip(captions, images, strict=True):
            ids = tokenizer.encode(caption, image)
            wanted = np.flatnonzero(tokenizer.is_colour(ids)) if pixels_only else np.arange(1, len(ids))
            stream += [blank, cells(ids)]
            ends.append(begin + len(blank) + wanted)
            targets.append(ids[wanted])
            begin += len(blank) + len(ids)
        self.stream, self.ends, self.targets = (np.concatenate(x) for x in (stream, ends, targets))

    def __len__(self) -> int:
        return len(self.ends)

    def take(self, index: NDArray[np.int64]) -> NextBatch:
        """The windows before those tokens, and the tokens."""
        places = self.ends[index, None] - self.length + np.arange(self.length)
        return NextBatch(torch.from_numpy(self.stream[places]), torch.from_numpy(self.targets[index]))

    def batches(self, batch: int, seed: int) -> _Batches:
        """Batches in an order that the seed decides; pure in the step."""
        return _Batches(self, Order(len(self), min(batch, len(self)), seed))


@dataclass(frozen=True)
class _Batches:
    windows: WindowsBefore
    order: Order

    def __call__(self, step: int, progress: float) -> NextBatch:
        return self.windows.take(self.order(step))
