"""Labelled sequences made of embedded data: written digits pixel by pixel, and a number hidden in prose.

Images and texts are split first, so that none of the test was seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from twofold.data import digits, standard_library
from twofold.data.made.sizes import NONE, Integers
from twofold.data.splits import split
from twofold.errors import UserError

GREYS, PIXELS, CLASSES = 17, 64, 10


@dataclass(frozen=True)
class SeqDigits:
    """A written digit of 8 × 8 pixels as 64 tokens, row by row: which digit is it? Asked at the last token.

    After Le et al. 2015, https://arxiv.org/abs/1504.00941, section 4.3 (in order, or permuted), and, followed by
    noise, Keller et al. 2023, https://arxiv.org/abs/2309.08045. Ids 0 to 16 are shades of grey, 17 to 26 the digits.
    Images of validation and test are taken once each.

    Args:
        permuted: 1: the pixels of all images are shuffled in the same way.
        noise: tokens of random grey that follow the image.
    """

    name: ClassVar[str] = "seq-digits"
    permuted: int = 0
    noise: int = 0

    def __post_init__(self) -> None:
        if self.permuted not in (0, 1):
            raise UserError(f"seq-digits: permuted is {self.permuted}; it must be 0 or 1")

    @property
    def origin(self) -> str:
        """What it is made of."""
        return digits.digits().source

    @property
    def vocab(self) -> int:
        return GREYS + CLASSES

    @property
    def length(self) -> int:
        return PIXELS + self.noise

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        pixels, classes = _digits(part)
        count = len(pixels)
        chosen = generator.integers(0, count, n) if part == "train" else generator.permutation(count)[:n]
        images = pixels[chosen]
        if self.permuted:
            images = images[:, np.random.default_rng(0).permutation(PIXELS)]
        ids = np.concatenate((images, generator.integers(0, GREYS, (len(chosen), self.noise))), 1)
        labels = np.full(ids.shape, NONE, np.int64)
        labels[:, -1] = GREYS + classes[chosen]
        return ids, labels


@dataclass(frozen=True)
class Needle:
    """Prose with one planted sentence, "the code for WORD is NNNN", and at the end the question for it.

    Bytes of `pydoc:texts`; after Mohtashami & Jaggi 2023, https://arxiv.org/abs/2305.16300. The labels of the last
    four tokens are the digits, each read after those before it: all of them right is what an exact answer is.

    Args:
        time: bytes in a sequence.
        first, last: percent of the prose before which, and after which, no code is planted.
    """

    name: ClassVar[str] = "needle"
    time: int = 128
    first: int = 0
    last: int = 100

    def __post_init__(self) -> None:
        if self.time < 80:
            raise UserError(f"needle: time is {self.time}; sentence and question take 60 bytes, so use at least 80")
        if not 0 <= self.first <= self.last <= 100:
            raise UserError(f"needle: first={self.first}, last={self.last}; use 0 <= first <= last <= 100")

    @property
    def origin(self) -> str:
        """What it is made of."""
        return standard_library.texts().source

    @property
    def vocab(self) -> int:
        return 256

    @property
    def length(self) -> int:
        return self.time

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        words = generator.integers(ord("a"), ord("z") + 1, (n, 5))
        codes = generator.integers(ord("0"), ord("9") + 1, (n, 4))
        said = np.concatenate((_spelled(" the code for ", n), words, _spelled(" is ", n)), 1)
        sentence = np.concatenate((said, codes, _spelled(". ", n)), 1)
        question = np.concatenate((said, codes[:, :-1]), 1)
        room = self.time - sentence.shape[1] - question.shape[1]
        prose = _prose(part)
        begins = generator.integers(0, len(prose) - room, n)
        low, high = room * self.first // 100, room * self.last // 100
        where = generator.integers(low, high + 1, n)[:, None]
        place = np.arange(room + sentence.shape[1])
        inside = (place >= where) & (place < where + sentence.shape[1])
        filler = prose[begins[:, None] + np.where(place < where, place, np.maximum(0, place - sentence.shape[1]))]
        planted = np.take_along_axis(sentence, np.clip(place - where, 0, sentence.shape[1] - 1), 1)
        ids = np.concatenate((np.where(inside, planted, filler), question), 1)
        labels = np.full(ids.shape, NONE, np.int64)
        labels[:, -4:] = codes
        return ids, labels


def _spelled(text: str, n: int) -> Integers:
    return np.tile(np.frombuffer(text.encode(), np.uint8).astype(np.int64), (n, 1))


@lru_cache(maxsize=3)
def _digits(part: str) -> tuple[Integers, Integers]:
    """Shades of grey `[n, 64]` and classes `[n]` of one part."""
    rows = split(digits.digits())
    chosen = [i for i, name in enumerate(rows.splits or ()) if name == part]
    images = np.stack([rows.columns["image"][i] for i in chosen]).reshape(len(chosen), PIXELS)
    greys = np.rint(images.astype(np.float64) * (16 / 255)).astype(np.int64)
    return greys, np.array([int(rows.columns["label"][i]) for i in chosen], np.int64)


@lru_cache(maxsize=3)
def _prose(part: str) -> NDArray[np.int64]:
    """The bytes of one part's texts, end to end."""
    rows = split(standard_library.texts())
    texts = [text for text, name in zip(rows.columns["text"], rows.splits or (), strict=True) if name == part]
    return np.frombuffer("\n".join(texts).encode(), np.uint8).astype(np.int64)
