"""One vocabulary for bytes of text and colours of small images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.errors import UserError

PAD, START, IMAGE, ROW, END = range(5)
_BYTES = 5
_COLOURS = _BYTES + 256
Ids = NDArray[np.int64]


class MixedTokenizer:
    """A caption and an image as ids: start, bytes, "an image follows", rows of colours each with "row ends", end.

    Args:
        palette: colours `[K, 3]`, or greys `[K, 1]`.

    Raises:
        UserError: no colour at all.
    """

    def __init__(self, palette: Sequence[Sequence[int]]) -> None:
        self.palette = np.asarray(palette, np.int64)
        if self.palette.ndim != 2 or not len(self.palette):
            raise UserError("a palette has at least one colour, [[r, g, b], …] or [[grey], …]")

    @classmethod
    def trained(cls, images: NDArray[np.uint8], colours: int, seed: int = 0) -> MixedTokenizer:
        """With the images' own colours if they are so few, else their k-means, `[n, height, width, channels]`."""
        pixels = images.reshape(-1, images.shape[-1])
        own = np.unique(pixels, axis=0)
        if len(own) > colours:
            from sklearn.cluster import KMeans

            some = pixels[np.random.default_rng(seed).permutation(len(pixels))[:20_000]]
            own = np.rint(KMeans(colours, n_init=1, random_state=seed).fit(some).cluster_centers_).astype(np.int64)
            own = own[np.lexsort(own.T)]
        return cls(own.tolist())

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return _COLOURS + len(self.palette)

    @staticmethod
    def is_colour(ids: Ids) -> NDArray[np.bool_]:
        """Which ids are pixels."""
        return np.asarray(ids) >= _COLOURS

    @staticmethod
    def prompt(caption: str) -> list[int]:
        """The ids of a caption, up to where its image begins."""
        return [START, *(_BYTES + b for b in caption.encode("utf-8", "replace")), IMAGE]

    def encode(self, caption: str, image: NDArray[np.uint8]) -> Ids:
        """All ids of a captioned image `[height, width, channels]`; each pixel as the nearest colour."""
        distance = ((image[..., None, :].astype(np.int64) - self.palette) ** 2).sum(-1)
        rows = _COLOURS + distance.argmin(-1)
        ended = np.concatenate([rows, np.full((len(rows), 1), ROW)], 1)
        return np.array([*self.prompt(caption), *ended.flatten().tolist(), END], np.int64)

    def decode(self, ids: Sequence[int]) -> tuple[str, NDArray[np.uint8]]:
        """The text, and the image `[height, width, channels]` (short rows are filled up with the first colour)."""
        given = np.asarray(ids, np.int64)
        text = bytes(int(i) - _BYTES for i in given if _BYTES <= i < _COLOURS).decode("utf-8", "replace")
        rows: list[list[int]] = [[]]
        for i in given.tolist():
            if i >= _COLOURS:
                rows[-1].append(i - _COLOURS)
            elif i == ROW:
                rows.append([])
        rows = [row for row in rows if row]
        wide = max(map(len, rows), default=0)
        filled = np.array([row + [0] * (wide - len(row)) for row in rows], np.int64).reshape(len(rows), wide)
        return text, self.palette[filled].astype(np.uint8)


def cells(ids: Ids) -> NDArray[np.int64]:
    """Each token with what stands around it, `[T, 9]`: three above, one left, itself, then nothing that comes later.

    A pixel's neighbours are those of its image that came before it; beyond the edge there are none, nothing wraps
    around. Left of any other token stands the one before.
    """
    count = len(ids)
    place, pixel = np.arange(count), MixedTokenizer.is_colour(ids)
    edge = np.maximum.accumulate(np.where(pixel, -1, place))  # the last token that is no pixel
    row = np.where(pixel, edge, -1)  # what a pixel's row begins behind
    before = np.where((row > 0) & (ids[row] == ROW), edge[row - 1], count)  # and the row above; `count`: there is none
    above = before + place - row

    def at(index: NDArray[np.int64], there: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.where(there, ids[np.clip(index, 0, count - 1)], PAD)

    over = [
        at(above + shift, (before < count) & (above + shift > before) & (above + shift < row)) for shift in (-1, 0, 1)
    ]
    left = at(place - 1, (place > 0) & (~pixel | (row < place - 1)))
    nothing = np.full(count, PAD)
    return np.stack([*over, left, ids, nothing, nothing, nothing, nothing], 1)
