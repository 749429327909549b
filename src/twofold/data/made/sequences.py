"""Made sequences whose tokens have known labels: recall, memory, and pointers to follow.

Ids and labels are int64 `[n, T]`; -100 where a token has no label. Each kind is a class whose fields are its sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from twofold.data.made.count3 import Count3
from twofold.data.made.embedded import Needle, SeqDigits
from twofold.data.made.signals import Adding, LinearInContext, Signals
from twofold.data.made.sizes import NONE, Integers, positive, read_sizes, written
from twofold.errors import UserError


class Sequences(Protocol):
    """A kind of sequence: `name`, `vocab` ids, `length` tokens, and a sampler."""

    name: ClassVar[str]

    @property
    def vocab(self) -> int:
        """How many ids there are."""

    @property
    def length(self) -> int:
        """Tokens in a sequence."""

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        """`n` sequences: ids and labels. `part` matters to those that are made of given data."""


@dataclass(frozen=True)
class Recall:
    """Key–value pairs first, filler to half of the length, then keys are asked again, each followed by filler.

    Multi-query associative recall: Arora et al. 2023, https://arxiv.org/abs/2312.04927. The label of an asked key is
    its value, which never follows it. Id 0 is filler; keys and values share the other ids in halves.

    Args:
        time: tokens in a sequence.
        pairs: in each sequence, with distinct keys.
        symbols: keys and values together.
    """

    name: ClassVar[str] = "mqar"
    time: int = 128
    pairs: int = 8
    symbols: int = 64

    def __post_init__(self) -> None:
        if self.time < 8 or self.time % 4 or not 1 <= self.pairs <= min(self.time // 4, self.symbols // 2):
            raise UserError(
                f"mqar with time={self.time}, pairs={self.pairs}, symbols={self.symbols}: time must be a multiple of "
                "4 from 8 on, pairs at most a quarter of it and at most half of the symbols"
            )

    @property
    def vocab(self) -> int:
        return 1 + 2 * (self.symbols // 2)

    @property
    def length(self) -> int:
        return self.time

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        half, size = self.time // 2, self.symbols // 2
        keys = 1 + generator.random((n, size)).argsort(axis=1)[:, : self.pairs]
        values = 1 + size + generator.integers(0, size, (n, self.pairs))
        ids, labels = np.zeros((n, self.time), np.int64), np.full((n, self.time), NONE, np.int64)
        ids[:, 0 : 2 * self.pairs : 2], ids[:, 1 : 2 * self.pairs : 2] = keys, values
        asked = generator.integers(0, self.pairs, (n, half // 2))
        ids[:, half::2] = np.take_along_axis(keys, asked, 1)
        labels[:, half::2] = np.take_along_axis(values, asked, 1)
        return ids, labels


@dataclass(frozen=True)
class LoosePair:
    """One key and its value side by side among loose keys and loose values; then a mark, and the key again.

    The label of the last token is the value that stood behind the key. A mean over tokens that hold more than the pair
    loses who stood beside whom. After Zeng et al. 2023, https://arxiv.org/abs/2305.04241, who answer questions about
    long texts. Id 0 is the mark; keys come next, then values. The key that is asked stands nowhere else.

    Args:
        time: tokens in a sequence.
        keys, values: different ones.
    """

    name: ClassVar[str] = "loose-pair"
    time: int = 128
    keys: int = 64
    values: int = 16

    def __post_init__(self) -> None:
        positive(self)
        if self.time < 4 or self.keys < 2:
            raise UserError(
                f"loose-pair with time={self.time}, keys={self.keys}: use a time of at least 4 and at least 2 keys"
            )

    @property
    def vocab(self) -> int:
        return 1 + self.keys + self.values

    @property
    def length(self) -> int:
        return self.time

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        context, rows = self.time - 2, np.arange(n)
        asked = generator.integers(0, self.keys, n)
        loose = (asked[:, None] + generator.integers(1, self.keys, (n, context))) % self.keys  # any key but that one
        values = self.keys + generator.integers(0, self.values, (n, context))
        body = 1 + np.where(generator.random((n, context)) < 0.5, loose, values)
        place = generator.integers(0, context - 1, n)
        body[rows, place], body[rows, place + 1] = 1 + asked, 1 + values[rows, place]
        ids = np.concatenate((body, np.zeros((n, 1), np.int64), 1 + asked[:, None]), 1)
        labels = np.full(ids.shape, NONE, np.int64)
        labels[:, -1] = 1 + values[rows, place]
        return ids, labels


@dataclass(frozen=True)
class CopyMemory:
    """Symbols first, then blanks, then a signal: the symbols must be given again, in order.

    Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016, https://arxiv.org/abs/1511.06464. Id 0 is blank, 1 the signal.

    Args:
        delay: blanks between.
        count: symbols to keep.
        symbols: different ones.
    """

    name: ClassVar[str] = "copy-memory"
    delay: int = 100
    count: int = 10
    symbols: int = 8

    def __post_init__(self) -> None:
        positive(self)

    @property
    def vocab(self) -> int:
        return 2 + self.symbols

    @property
    def length(self) -> int:
        return self.delay + 2 * self.count

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        kept = 2 + generator.integers(0, self.symbols, (n, self.count))
        ids, labels = np.zeros((n, self.length), np.int64), np.full((n, self.length), NONE, np.int64)
        ids[:, : self.count] = kept
        ids[:, -self.count :] = 1
        labels[:, -self.count :] = kept
        return ids, labels


@dataclass(frozen=True)
class SelectiveCopy:
    """Symbols scattered among blanks; after a signal they must be given again, in order.

    Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3.1. Id 0 is blank, 1 the signal.

    Args:
        time: tokens over which the symbols are scattered.
        count: symbols to keep.
        symbols: different ones.
    """

    name: ClassVar[str] = "selective-copy"
    time: int = 64
    count: int = 8
    symbols: int = 14

    def __post_init__(self) -> None:
        positive(self)
        if self.count > self.time:
            raise UserError(f"selective-copy: {self.count} symbols do not fit into time={self.time}; use fewer")

    @property
    def vocab(self) -> int:
        return 2 + self.symbols

    @property
    def length(self) -> int:
        return self.time + self.count

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        kept = 2 + generator.integers(0, self.symbols, (n, self.count))
        where = np.sort(generator.random((n, self.time)).argsort(axis=1)[:, : self.count], axis=1)
        ids, labels = np.zeros((n, self.length), np.int64), np.full((n, self.length), NONE, np.int64)
        np.put_along_axis(ids, where, kept, 1)
        ids[:, -self.count :] = 1
        labels[:, -self.count :] = kept
        return ids, labels


@dataclass(frozen=True)
class Chase:
    """A random map, then places to start from: where does following `hops` arrows lead? The depth of a computation.

    The map is `size` pairs (place, its successor) in random order; then every start is asked, with that label.

    Args:
        hops: arrows to follow.
        size: places.
        asked: starts.
    """

    name: ClassVar[str] = "chase"
    hops: int = 2
    size: int = 16
    asked: int = 16

    def __post_init__(self) -> None:
        positive(self)

    @property
    def vocab(self) -> int:
        return 1 + self.size

    @property
    def length(self) -> int:
        return 2 * self.size + 1 + self.asked

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        follow = generator.random((n, self.size)).argsort(axis=1)
        order = generator.random((n, self.size)).argsort(axis=1)
        starts = generator.integers(0, self.size, (n, self.asked))
        ids, labels = np.zeros((n, self.length), np.int64), np.full((n, self.length), NONE, np.int64)
        ids[:, 0 : 2 * self.size : 2] = 1 + order
        ids[:, 1 : 2 * self.size : 2] = 1 + np.take_along_axis(follow, order, 1)
        ids[:, 2 * self.size + 1 :] = 1 + starts
        ends = starts
        for _ in range(self.hops):
            ends = np.take_along_axis(follow, ends, 1)
        labels[:, 2 * self.size + 1 :] = 1 + ends
        return ids, labels


@dataclass(frozen=True)
class Mirror:
    """A picture of random colours, row by row, whose lower half is blank: it mirrors the upper half.

    The label of a blank pixel is the colour in the same column of the row as far above the middle. Id 0 is blank.

    Args:
        rows: of the picture, an even number.
        width: pixels in a row.
        colours: different ones.
    """

    name: ClassVar[str] = "mirror"
    rows: int = 16
    width: int = 16
    colours: int = 8

    def __post_init__(self) -> None:
        positive(self)
        if self.rows % 2:
            raise UserError(f"mirror: rows is {self.rows}; a picture with two halves has an even number of rows")

    @property
    def vocab(self) -> int:
        return 1 + self.colours

    @property
    def length(self) -> int:
        return self.rows * self.width

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        half = 1 + generator.integers(0, self.colours, (n, self.rows // 2, self.width))
        blank, free = np.zeros_like(half), np.full_like(half, NONE)
        ids, labels = np.concatenate((half, blank), 1), np.concatenate((free, half[:, ::-1]), 1)
        return ids.reshape(n, -1), labels.reshape(n, -1)


@dataclass(frozen=True)
class Where:
    """The same token everywhere; the label of each is its own place. Luo et al. 2022, https://arxiv.org/abs/2205.13401

    Args:
        time: tokens in a sequence.
    """

    name: ClassVar[str] = "where"
    time: int = 64

    def __post_init__(self) -> None:
        positive(self)

    @property
    def vocab(self) -> int:
        return self.time

    @property
    def length(self) -> int:
        return self.time

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        return np.zeros((n, self.time), np.int64), np.tile(np.arange(self.time), (n, 1))


KINDS: dict[str, type[Any]] = {
    kind.name: kind
    for kind in (
        *(Recall, CopyMemory, SelectiveCopy, Chase, Mirror, Where, LoosePair),
        *(Count3, SeqDigits, Needle, Adding, LinearInContext),
    )
}
"""Kinds of sequence by name. What plain attention solves of each is in docs/data/calibrated.json."""


def parse(text: str) -> Sequences | Signals | None:
    """`mqar` or `mqar(time=128, pairs=8)`; None where it is no kind of sequence.

    Raises:
        UserError: unknown or unfit sizes.
    """
    found = written(text)
    if found is None or found[0] not in KINDS:
        return None
    kind = KINDS[found[0]]
    sizes = read_sizes(*found, [f.name for f in fields(kind)])
    return cast(Sequences | Signals, kind(**sizes))
