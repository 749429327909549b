"""Sequences with known answers: copy, reverse, sort, sum mod 10, parity.

Small problems whose rule is the same at every length, so that a model trained on short ones can be asked long ones
(as in Kazemnejad et al. 2023, "The Impact of Positional Encoding on Length Generalization in Transformers").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from twofold.errors import UserError, unknown

Integers = NDArray[np.int64]
Solver = Callable[[Integers, Integers], tuple[Integers, Integers]]

PAD, START, ASK, END = range(4)
FIRST = 4


@dataclass(frozen=True)
class Vocabulary:
    """Ids of the problems' tokens: padding 0, start 1, ask 2 (between prompt and answer), end 3, then the symbols."""

    symbols: int

    @property
    def size(self) -> int:
        return FIRST + self.symbols

    def names(self) -> list[str]:
        """What each id is called."""
        return ["<pad>", "<start>", "<ask>", "<end>", *map(str, range(self.symbols))]


@dataclass(frozen=True)
class Problems:
    """A set of problems as ids, padded with 0 on the right.

    Attributes:
        name: which problem.
        lengths: symbols in each problem's input, [n].
        prompts: `<start> input <ask>`, [n, longest input + 2].
        answers: `answer <end>`, [n, longest answer + 1].
        vocabulary: the ids' meaning.
    """

    name: str
    lengths: Int[np.ndarray, "n"]
    prompts: Int[np.ndarray, "n prompt"]
    answers: Int[np.ndarray, "n answer"]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.lengths)

    def sequences(self) -> tuple[Int[np.ndarray, "n time"], Bool[np.ndarray, "n time"], Bool[np.ndarray, "n time"]]:
        """(ids, real, counted): prompt and answer in one, beginning at place 0; `counted` marks answer and end.

        A loss that predicts the next token is taken where the *target* is counted.
        """
        prompt, answer = self.prompts != PAD, self.answers != PAD
        before, after = prompt.sum(1), answer.sum(1)
        places = np.arange(int((before + after).max(initial=0)))
        real = places < (before + after)[:, None]
        counted = real & (places >= before[:, None])
        ids = np.full(real.shape, PAD, dtype=np.int64)
        ids[real & ~counted] = self.prompts[prompt]
        ids[counted] = self.answers[answer]
        return ids, real, counted


def problems(
    name: str,
    lengths: int | tuple[int, int],
    n: int,
    seed: int | Sequence[int] = 0,
    *,
    symbols: int | None = None,
    distinct: bool | None = None,
) -> Problems:
    """`n` random problems of one kind with their answers.

    Args:
        name: "copy", "reverse", "sort" (ascending), "sum_mod" (the digits' sum mod 10) or "parity" (of the ones).
        lengths: symbols in an input: one number, or (shortest, longest), each length equally likely.
        n: how many.
        seed: the same seed (a number, or several such as (seed, step)), the same problems.
        symbols: size of the alphabet: 64 for copy, reverse and sort; always 10 for sum_mod and 2 for parity.
        distinct: draw each input without replacement. Default: for copy, reverse and sort, whose inputs content
            alone then tells apart.

    Raises UserError for an unknown name, a length below 1, or more distinct symbols than there are.
    """
    if name not in _PROBLEMS:
        raise unknown("problem", name, _PROBLEMS)
    solve, alphabet, fixed = _PROBLEMS[name]
    if symbols is not None and fixed and symbols != alphabet:
        raise UserError(f"{name} has {alphabet} symbols, not {symbols}; leave symbols out")
    alphabet = symbols or alphabet
    distinct = not fixed if distinct is None else distinct
    shortest, longest = (lengths, lengths) if isinstance(lengths, int) else lengths
    if not 1 <= shortest <= longest or n < 1:
        raise UserError(f"no {n} problems of lengths {shortest} to {longest}; use at least 1, shortest first")
    if distinct and longest > alphabet:
        raise UserError(
            f"{longest} distinct symbols cannot be drawn from {alphabet}; use at most {alphabet}, more symbols, or "
            "distinct=False"
        )
    generator = np.random.default_rng(seed)
    sizes = generator.integers(shortest, longest + 1, size=n)
    if distinct:
        values = generator.random((n, alphabet)).argsort(axis=1)[:, :longest]
    else:
        values = generator.integers(0, alphabet, size=(n, longest))
    answers, answer_sizes = solve(values, sizes)
    return Problems(
        name,
        sizes,
        _written(values, sizes, begin=[START], end=ASK),
        _written(answers, answer_sizes, begin=[], end=END),
        Vocabulary(alphabet),
    )


def answer(name: str, values: Sequence[int]) -> list[int]:
    """The known answer to one problem, as symbols: `answer("sort", [3, 1, 2])` is `[1, 2, 3]`."""
    if name not in _PROBLEMS:
        raise unknown("problem", name, _PROBLEMS)
    found, size = _PROBLEMS[name][0](np.asarray([values], dtype=np.int64), np.asarray([len(values)]))
    return found[0, : size[0]].tolist()


def _written(values: Integers, sizes: Integers, begin: list[int], end: int) -> Integers:
    """Symbols as ids between `begin` and `end`, 0 after that."""
    places = np.arange(values.shape[1])
    ids = np.full((len(values), len(begin) + values.shape[1] + 1), PAD, dtype=np.int64)
    ids[:, : len(begin)] = begin
    ids[:, len(begin) : -1] = np.where(places < sizes[:, None], values + FIRST, PAD)
    ids[np.arange(len(values)), len(begin) + sizes] = end
    return ids


def _copy(values: Integers, sizes: Integers) -> tuple[Integers, Integers]:
    return values, sizes


def _reverse(values: Integers, sizes: Integers) -> tuple[Integers, Integers]:
    back = sizes[:, None] - 1 - np.arange(values.shape[1])
    return np.take_along_axis(values, np.maximum(back, 0), axis=1), sizes


def _sort(values: Integers, sizes: Integers) -> tuple[Integers, Integers]:
    inside = np.arange(values.shape[1]) < sizes[:, None]
    return np.sort(np.where(inside, values, values.max(initial=0) + 1), axis=1), sizes


def _sum_of(modulus: int) -> Solver:
    def solve(values: Integers, sizes: Integers) -> tuple[Integers, Integers]:
        inside = np.arange(values.shape[1]) < sizes[:, None]
        return (values * inside).sum(axis=1, keepdims=True) % modulus, np.ones_like(sizes)

    return solve


# name → (its answers, size of its alphabet, whether the rule fixes that size)
_PROBLEMS: dict[str, tuple[Solver, int, bool]] = {
    "copy": (_copy, 64, False),
    "reverse": (_reverse, 64, False),
    "sort": (_sort, 64, False),
    "sum_mod": (_sum_of(10), 10, True),
    "parity": (_sum_of(2), 2, True),
}
NAMES = tuple(_PROBLEMS)


def named(source: str) -> str | None:
    """The problem that `algorithms:sort` names (`algorithms` alone: sort), or None for the name of anything else.

    Raises:
        UserError: a problem that there is not.
    """
    kind, _, name = source.partition(":")
    if kind != "algorithms":
        return None
    if (name or "sort") not in NAMES:
        raise unknown("problem", name, NAMES)
    return name or "sort"
