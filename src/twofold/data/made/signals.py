"""Made sequences of real numbers with known answers: sums of marked numbers, and functions to be learned in context.

A token is a row of numbers, float32 `[n, T, C]`; targets are `[n, T]`, NaN where nothing is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from twofold.data.made.sizes import Numbers, positive
from twofold.errors import UserError


class Signals(Protocol):
    """A kind of sequence of numbers: `channels` in a token, `length` tokens, and a sampler."""

    name: ClassVar[str]

    @property
    def channels(self) -> int:
        """Numbers in a token."""

    @property
    def length(self) -> int:
        """Tokens in a sequence."""

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Numbers, Numbers]:
        """`n` sequences: values and targets."""


@dataclass(frozen=True)
class Adding:
    """Random numbers from 0 to 1, two of them marked, one in each half: what is their sum? Asked at the last token.

    Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, experiment 4, with numbers from 0 to 1
    and one mark in each half (Arjovsky et al. 2016, https://arxiv.org/abs/1511.06464, section 4.2). The best guess
    without the marks is 1, with a mean squared error of 1/6.

    Args:
        time: tokens in a sequence.
    """

    name: ClassVar[str] = "adding"
    time: int = 100

    def __post_init__(self) -> None:
        if self.time < 2:
            raise UserError(f"adding: time is {self.time}; two numbers are added, so it must be at least 2")

    @property
    def channels(self) -> int:
        return 2

    @property
    def length(self) -> int:
        return self.time

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Numbers, Numbers]:
        values = np.zeros((n, self.time, 2), np.float32)
        values[..., 0] = generator.random((n, self.time))
        half, rows = self.time // 2, np.arange(n)
        marked = generator.integers(0, half, n), generator.integers(half, self.time, n)
        targets = np.full((n, self.time), np.nan, np.float32)
        targets[:, -1] = 0
        for place in marked:
            values[rows, place, 1] = 1
            targets[:, -1] += values[rows, place, 0]
        return values, targets


@dataclass(frozen=True)
class LinearInContext:
    """Points and their values under a linear map, another one in each sequence; the value is asked at each point.

    Garg et al. 2022, "What Can Transformers Learn In-Context?", https://arxiv.org/abs/2208.01066, section 3: points
    and weights are normal, and the answer at the k-th point can use the k - 1 points before it. The map is scaled so
    that values have variance 1; values have a channel of their own. From `dim` points on, least squares is exact.

    Args:
        dim: numbers in a point.
        points: in a sequence; each but for the last is followed by its value.
    """

    name: ClassVar[str] = "icl-linear"
    dim: int = 4
    points: int = 16

    def __post_init__(self) -> None:
        positive(self)

    @property
    def channels(self) -> int:
        return self.dim + 1

    @property
    def length(self) -> int:
        return 2 * self.points - 1

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Numbers, Numbers]:
        points = generator.standard_normal((n, self.points, self.dim), np.float32)
        maps = generator.standard_normal((n, self.dim), np.float32) / np.float32(self.dim**0.5)
        answers = np.einsum("npd,nd->np", points, maps)
        values = np.zeros((n, self.length, self.channels), np.float32)
        targets = np.full((n, self.length), np.nan, np.float32)
        values[:, ::2, : self.dim] = points
        values[:, 1::2, self.dim] = answers[:, :-1]
        targets[:, ::2] = answers
        return values, targets
