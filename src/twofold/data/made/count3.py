"""Count3: how many pairs of tokens add up, with the newest token, to a multiple of how many tokens there are.

f(x₁ … xₙ) = |{(i, j) : xᵢ + xⱼ + xₙ ≡ 0 mod n, 1 ≤ i, j ≤ n}| mod n, each value the sequence's next token. Ewer, Chae,
Zeng, Kim & Lee 2024, "ENTP: Encoder-only Next Token Prediction", https://arxiv.org/abs/2410.01600, where it is called
Triplet-Counting too: easy once the newest token is known, hard for states that were fixed before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from twofold.data.made.sizes import NONE, Integers
from twofold.errors import UserError


def by_pairs(tokens: Int[np.ndarray, "rows n"], modulus: int | None = None) -> Int[np.ndarray, "rows"]:
    """f of each row, pair by pair: O(n²) time and O(1) memory a row.

    Args:
        tokens: at least one in a row, none negative.
        modulus: a fixed one in place of n.
    """
    tokens = tokens.astype(np.int64)  # sums of small integers would wrap around
    m = modulus or tokens.shape[1]
    newest, count = tokens[:, -1], np.zeros(len(tokens), np.int64)
    for first in tokens.T:
        for second in tokens.T:
            count += (first + second + newest) % m == 0
    return count % m


def by_table(tokens: Int[np.ndarray, "rows n"], modulus: int | None = None) -> Int[np.ndarray, "rows"]:
    """f of each row, from how often each remainder occurs: O(n) time a row, and a table as long as the modulus.

    Args:
        tokens, modulus: as in `by_pairs`.
    """
    tokens = tokens.astype(np.int64)
    m = modulus or tokens.shape[1]
    rows = m * np.arange(len(tokens))[:, None]
    table = np.bincount((rows + tokens % m).ravel(), minlength=m * len(tokens))
    partners = (-tokens - tokens[:, -1:]) % m
    count: Integers = table[rows + partners].sum(axis=1)
    return count % m


@dataclass(frozen=True)
class Count3:
    """Random tokens first, then each is f of all before it. The label of a token, from the last random one on, is the
    token that comes next.

    A small fixed modulus soon runs in circles, which a model can follow without counting: modulo 4, sequences of 64
    end in one of four ways. `random=1` keeps all tokens random; then only the labels are f.

    Args:
        time: tokens in a sequence, and without a modulus the size of the alphabet.
        prefix: random tokens at the beginning, of which the last is the first to have a label.
        modulus: a fixed one, the size of the alphabet too; 0: how many tokens there are so far.
        random: 1: tokens behind the prefix are random too.
    """

    name: ClassVar[str] = "count3"
    time: int = 64
    prefix: int = 16
    modulus: int = 0
    random: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.prefix <= self.time:
            raise UserError(
                f"count3 with time={self.time}: prefix is {self.prefix}; it must be at least 1 and at most time, as in "
                f"count3(time={max(4, self.time)}, prefix={max(1, self.time // 4)})"
            )
        if self.modulus < 0 or self.modulus == 1:
            raise UserError(
                f"count3: modulus is {self.modulus}; it must be at least 2, or 0 for the number of tokens so far"
            )
        if self.random not in (0, 1):
            raise UserError(f"count3: random is {self.random}; it must be 0 or 1")

    @property
    def vocab(self) -> int:
        return self.modulus or self.time

    @property
    def length(self) -> int:
        return self.time

    def sample(self, n: int, generator: np.random.Generator, part: str = "train") -> tuple[Integers, Integers]:
        ids = generator.integers(0, self.vocab, (n, self.time))
        labels = np.full((n, self.time), NONE, np.int64)
        for seen in range(self.prefix, self.time + 1):  # each token depends on the one before it
            labels[:, seen - 1] = by_table(ids[:, :seen], self.modulus or None)
            if not self.random and seen < self.time:
                ids[:, seen] = labels[:, seen - 1]
        return ids, labels
