"""Many texts in one array of bytes, so that a file of them opens by memory map and only what is asked for is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Texts(Sequence[str]):
    """Texts as UTF-8, one behind the other.

    Args:
        content: `[bytes]`.
        ends: where each text ends, `[n]`.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        self.content, self.ends = content, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Those texts; half characters, which UTF-8 does not have, are replaced."""
        pieces = [text.encode("utf-8", "replace") for text in texts]
        ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return cls(np.frombuffer(b"".join(pieces), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self.bytes(place % len(self)).decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        content, start = self.content.data, 0
        for end in self.ends.tolist():
            yield str(content[start:end], "utf-8", "replace")
            start = end

    @cached_property
    def places(self) -> dict[str, int]:
        """Each text's place; the last one's of equal texts."""
        return {text: place for place, text in enumerate(self)}

    def bytes(self, place: int) -> bytes:
        """One text as it is stored."""
        start = int(self.ends[place - 1]) if place else 0
        return self.content[start : int(self.ends[place])].tobytes()

    def find(self, text: str) -> int | None:
        """The place of a text, where they are sorted by their bytes; None: it is none of them."""
        wanted, low, high = text.encode("utf-8", "replace"), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.bytes(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.bytes(low) == wanted else None

    def tensors(self, name: str) -> dict[str, Tensor]:
        """What is written to a file."""
        content = torch.from_numpy(self.content.copy()) if len(self.content) else torch.zeros(0, dtype=torch.uint8)
        return {name: content, f"{name}_ends": torch.from_numpy(self.ends)}

    @classmethod
    def from_tensors(cls, found: dict[str, Tensor], name: str) -> Texts:
        """The texts that such a file holds.

        Raises:
            ValueError: ends that do not rise, or lie outside.
        """
        content, ends = found[name].numpy(), found[f"{name}_ends"].numpy()
        if ends.dtype != np.int64 or content.dtype != np.uint8 or content.ndim != 1 or ends.ndim != 1:
            raise ValueError(f"{name} has values of the wrong kind")
        if len(ends) and (ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] != len(content)):
            raise ValueError(f"{name} has ends that do not fit")
        return cls(content, ends)
