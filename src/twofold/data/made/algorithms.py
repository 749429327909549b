"""Sequences with known answers: copy, reverse, sort, sum mod 10, parity, addition.

Small problems whose rule is the same at every length, so that a model trained on short ones can be asked long ones
(as in Kazemnejad et al. 2023, "The Impact of Positional Encoding on Length Generalization in Transformers").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from twofold.data.made.sizes import read_sizes, written
from twofold.errors import UserError, unknown

Integers = NDArray[np.int64]
Solver = Callable[[Integers, Integers], tuple[Integers, Integers]]

PAD, START, ASK, END = range(4)
FIRST = 4


@dataclass(frozen=True)
class Vocabulary:
    """Ids of the problems' tokens: padding 0, start 1, ask 2 (between prompt and answer), end 3, then the symbols, then
    the marks that stand between the parts of an input."""

    symbols: int
    marks: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return FIRST + self.symbols + len(self.marks)

    def names(self) -> list[str]:
        """What each id is called."""
        return ["<pad>", "<start>", "<ask>", "<end>", *map(str, range(self.symbols)), *self.marks]


@dataclass(frozen=True)
class Problems:
    """A set of problems as ids, padded with 0 on the right.

    Attributes:
        name: which problem.
        lengths: symbols in each problem's input, of an addition digits in each number, [n].
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
        name: "copy", "reverse", "sort" (ascending), "sum_mod" (the digits' sum mod 10), "parity" (of the ones) or
            "add" (two numbers of as many digits with "+" between them, any digit first; the answer has one digit more
            and begins with the least significant).
        lengths: symbols in an input (add: digits in each number): one number, or (shortest, longest), each length
            equally likely.
        n: how many.
        seed: the same seed (a number, or several such as (seed, step)), the same problems.
        symbols: size of the alphabet: 64 for copy, reverse and sort; always 10 for sum_mod and add, and 2 for parity.
        distinct: draw each input without replacement. Default: for copy, reverse and sort, whose inputs content
            alone then tells apart.

    Raises UserError for an unknown name, a length below 1, or more distinct symbols than there are.
    """
    if name not in _PROBLEMS:
        raise unknown("problem", name, _PROBLEMS)
    rule = _PROBLEMS[name]
    if symbols is not None and rule.fixed and symbols != rule.alphabet:
        raise UserError(f"{name} has {rule.alphabet} symbols, not {symbols}; leave symbols out")
    alphabet = symbols or rule.alphabet
    distinct = not rule.fixed if distinct is None else distinct
    shortest, longest = (lengths, lengths) if isinstance(lengths, int) else lengths
    if not 1 <= shortest <= longest or n < 1:
        raise UserError(f"no {n} problems of lengths {shortest} to {longest}; use at least 1, shortest first")
    drawn = rule.numbers * longest
    if distinct and drawn > alphabet:
        raise UserError(
            f"{drawn} distinct symbols cannot be drawn from {alphabet}; use at most {alphabet}, more symbols, or "
            "distinct=False"
        )
    generator = np.random.default_rng(seed)
    sizes = generator.integers(shortest, longest + 1, size=n)
    if distinct:
        values = generator.random((n, alphabet)).argsort(axis=1)[:, :drawn]
    else:
        values = generator.integers(0, alphabet, size=(n, drawn))
    values, widths = rule.laid_out(values, sizes, alphabet)
    answers, answer_sizes = rule.solve(values, widths)
    return Problems(
        name,
        sizes,
        _written(values, widths, begin=[START], end=ASK),
        _written(answers, answer_sizes, begin=[], end=END),
        Vocabulary(alphabet, rule.marks),
    )


def answer(name: str, values: Sequence[int]) -> list[int]:
    """The known answer to one problem, as symbols: `answer("sort", [3, 1, 2])` is `[1, 2, 3]`, and
    `answer("add", [1, 9, 10, 0, 5])`, 19 + 05 with its mark as symbol 10, is `[4, 2, 0]`.

    Raises:
        UserError: an unknown name, or no two numbers of as many digits with a mark between them where they are added.
    """
    if name not in _PROBLEMS:
        raise unknown("problem", name, _PROBLEMS)
    rule = _PROBLEMS[name]
    given = np.asarray([values], dtype=np.int64)
    rule.check(name, given[0])
    found, size = rule.solve(given, np.asarray([len(values)]))
    return found[0, : size[0]].tolist()


def apart(name: str, length: int, counts: Sequence[int], seed: int | Sequence[int] = 0) -> list[Problems]:
    """Sets of problems of one length, `counts` in each, no two of all of them alike (2 + 1 is like 1 + 2).

    Args:
        name, length, seed: as `problems` takes them.
        counts: how many problems each set has.

    Raises:
        UserError: as `problems` does, or so many different problems were not found.
    """
    need = sum(counts)
    drawn = problems(name, length, 4 * need, seed)
    alike = _PROBLEMS[name].alike(drawn.prompts)
    first = np.sort(np.unique(alike, axis=0, return_index=True)[1])
    if len(first) < need:
        raise UserError(
            f"{name}: no {need} different problems of length {length} were found, only {len(first)}; ask for fewer, or "
            "for longer ones"
        )
    ends = np.cumsum(counts)
    return [_picked(drawn, first[end - n : end]) for n, end in zip(counts, ends.tolist(), strict=True)]


def _picked(given: Problems, rows: Integers) -> Problems:
    return replace(given, lengths=given.lengths[rows], prompts=given.prompts[rows], answers=given.answers[rows])


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


def _add(values: Integers, sizes: Integers) -> tuple[Integers, Integers]:
    """Digits of the sum, least significant first. A column that does not add up to 9 hands on a carry or none whatever
    it is handed; one that does hands on what it gets."""
    digits = (sizes - 1) // 2
    column = np.arange(int(digits.max(initial=0)) + 1)
    inside = column < digits[:, None]
    place = np.where(inside, digits[:, None] - 1 - column, 0)
    first = np.take_along_axis(values, place, axis=1)
    second = np.take_along_axis(values, place + np.where(inside, digits[:, None] + 1, 0), axis=1)
    sums = np.where(inside, first + second, 0)
    decides = np.maximum.accumulate(np.where(sums != 9, column, -1), axis=1)
    carries = (np.take_along_axis(sums, np.maximum(decides, 0), axis=1) > 9) & (decides >= 0)
    sums[:, 1:] += carries[:, :-1]
    return sums % 10, digits + 1


def _as_they_are(prompts: Integers) -> Integers:
    return prompts


def _either_way_round(prompts: Integers) -> Integers:
    """Prompts of one length, the smaller number first."""
    first, second = np.split(prompts[:, 1:-1], [prompts.shape[1] // 2 - 1], axis=1)
    second = second[:, 1:]
    differs = first != second
    at = differs.argmax(axis=1)[:, None]
    swap = np.take_along_axis(first, at, axis=1) > np.take_along_axis(second, at, axis=1)
    return np.concatenate([np.where(swap, second, first), np.where(swap, first, second)], axis=1)


@dataclass(frozen=True)
class _Rule:
    """A kind of problem.

    Args:
        solve: inputs as symbols, and how many each has → answers, and how many symbols each of those has.
        alphabet: how many symbols there are to draw from.
        fixed: the rule fixes the alphabet.
        marks: what stands between the parts of an input, each of which is as long as the others; symbols above the
            alphabet.
        alike: prompts of one length → the same row for problems that are one and the same.
    """

    solve: Solver
    alphabet: int
    fixed: bool = False
    marks: tuple[str, ...] = ()
    alike: Callable[[Integers], Integers] = _as_they_are

    @property
    def numbers(self) -> int:
        """Parts of an input."""
        return len(self.marks) + 1

    def laid_out(self, values: Integers, sizes: Integers, alphabet: int) -> tuple[Integers, Integers]:
        """Drawn symbols `[n, numbers × longest]` with the marks between the parts, and how many symbols that makes."""
        longest = values.shape[1] // self.numbers
        places = np.arange(values.shape[1] + len(self.marks))
        part, offset = places // (sizes[:, None] + 1), places % (sizes[:, None] + 1)
        taken = np.take_along_axis(values, np.minimum(part * longest + offset, values.shape[1] - 1), axis=1)
        return np.where(offset == sizes[:, None], alphabet + part, taken), self.numbers * (sizes + 1) - 1

    def check(self, name: str, values: Integers) -> None:
        """Raises UserError where the marks of one input do not stand where they belong, or digits are none."""
        if not self.marks:
            return
        length, rest = divmod(len(values) + 1, self.numbers)
        is_mark = np.arange(len(values)) % length == length - 1 if length > 1 and not rest else values < 0
        marks, digits = values[is_mark], values[~is_mark]
        right = marks.tolist() == list(range(self.alphabet, self.alphabet + len(self.marks)))
        if not right or not ((digits >= 0) & (digits < self.alphabet)).all():
            raise UserError(
                f"{name} takes {self.numbers} numbers of as many digits, 0 to {self.alphabet - 1}, with symbol "
                f"{self.alphabet} between them, not {values.tolist()}"
            )


_PROBLEMS = {
    "copy": _Rule(_copy, 64),
    "reverse": _Rule(_reverse, 64),
    "sort": _Rule(_sort, 64),
    "sum_mod": _Rule(_sum_of(10), 10, fixed=True),
    "parity": _Rule(_sum_of(2), 2, fixed=True),
    "add": _Rule(_add, 10, fixed=True, marks=("+",), alike=_either_way_round),
}
NAMES = tuple(_PROBLEMS)


@dataclass(frozen=True)
class Named:
    """Problems by name.

    Args:
        problem: which.
        sizes: none (lengths 1 to 10, tested to 20), or the one `length` of all problems and how many to `train` on.
    """

    problem: str
    sizes: dict[str, int]


def named(source: str) -> Named | None:
    """The problem that `algorithms:sort` names (`algorithms` alone: sort), or `algorithms:add(length=3, train=4000)`;
    None for the name of anything else.

    Raises:
        UserError: a problem that there is not, or sizes that are not `length` and `train`, both at least 1.
    """
    kind, _, name = source.partition(":")
    if kind != "algorithms":
        return None
    problem, sizes = written(name or "sort") or (name, "")
    if problem not in NAMES:
        raise unknown("problem", problem, NAMES)
    found = read_sizes(problem, sizes, ("length", "train"))
    if found and (len(found) < 2 or min(found.values()) < 1):
        raise UserError(f"{problem}({sizes}) needs both sizes, each at least 1: write {problem}(length=3, train=4000)")
    return Named(problem, found)
