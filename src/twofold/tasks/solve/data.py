"""Problems with known answers: made, given as rows, or made by a person's own function; and batches of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twofold.data.batches import Order
from twofold.data.cache import digest
from twofold.data.made.algorithms import ASK, END, FIRST, PAD, START, Problems, Vocabulary, apart, problems
from twofold.data.rows import Rows
from twofold.data.splits import split
from twofold.errors import UserError

Symbols = Sequence[str]
Function = Callable[[int], tuple[Any, Any]]
"""A person's own generator: a length in, a prompt and its answer out, each a text or a sequence of symbols."""

_TRAIN, _VALIDATION, _TEST = range(3)


@dataclass(frozen=True)
class SolveData:
    """Problems to train on and problems to be judged by.

    Args:
        name, source, fingerprint: of the data.
        names: what each id is called; the first four are padding, start, ask and end.
        train: problems of mixed lengths.
        validation, test: problems, one set a length, shortest first.
        marker: where answers hold their working too, the symbol behind which the result stands; only that is judged.
    """

    name: str
    source: str
    fingerprint: str
    names: tuple[str, ...]
    train: Problems
    validation: tuple[Problems, ...]
    test: tuple[Problems, ...]
    marker: str | None = None

    @property
    def train_len(self) -> int:
        """The longest length that is trained on."""
        return int(self.train.lengths.max())

    @cached_property
    def length(self) -> int:
        """Tokens in the longest row: two problems to train on, or one to be judged by."""
        packed = 2 * int(self.train.sequences()[1].sum(1).max())
        return max(packed, *(each.prompts.shape[1] + each.answers.shape[1] for each in (*self.validation, *self.test)))

    @classmethod
    def made(
        cls, name: str, train_len: int, test_len: int, *, train: int = 20_000, each: int = 64, seed: int = 0
    ) -> SolveData:
        """Problems of `data.made.algorithms`: lengths 1 to `train_len` to train on, 1 to `test_len` in the test.

        Args:
            train: how many to train on.
            each: how many of each length in validation and test.
            seed: of all of them; the three parts share no random numbers.
        """
        _check(train_len, test_len)
        validation = [problems(name, n, each, (seed, _VALIDATION, n)) for n in range(1, train_len + 1)]
        test = [problems(name, n, each, (seed, _TEST, n)) for n in range(1, test_len + 1)]
        trained = problems(name, (1, train_len), train, (seed, _TRAIN))
        fingerprint = digest(name, repr((train_len, test_len, train, each, seed)))[:16]
        names = tuple(trained.vocabulary.names())
        return cls(name, f"made: {name}", fingerprint, names, trained, tuple(validation), tuple(test))

    @classmethod
    def unseen(cls, name: str, length: int, train: int, *, each: int = 1000, seed: int = 0) -> SolveData:
        """Problems of `data.made.algorithms`, all of one length and no two alike: what is asked was never trained on.

        Args:
            train: how many to train on.
            each: how many are in validation, and how many in the test.
            seed: of all of them.

        Raises:
            UserError: there are not so many different problems of that length.
        """
        trained, validation, test = apart(name, length, (train, each, each), seed)
        label = f"{name}(length={length}, train={train})"
        fingerprint = digest(label, repr((each, seed)))[:16]
        names = tuple(trained.vocabulary.names())
        return cls(label, f"made: {label}", fingerprint, names, trained, (validation,), (test,))

    @classmethod
    def from_function(
        cls,
        name: str,
        function: Function,
        train_len: int,
        test_len: int,
        *,
        train: int = 20_000,
        each: int = 64,
        seed: int = 0,
        marker: str | None = None,
    ) -> SolveData:
        """Problems of a person's own generator. It may use the global `random` and `numpy.random`, which are seeded.

        Raises:
            UserError: the function fails, or gives something else than a prompt and an answer.
        """
        _check(train_len, test_len)
        rng = np.random.default_rng((seed, _TRAIN))
        plan = [rng.integers(1, train_len + 1, train).tolist()]
        plan += [[n] * each for n in range(1, train_len + 1)] + [[n] * each for n in range(1, test_len + 1)]
        made = [_called(name, function, lengths, (seed, i)) for i, lengths in enumerate(plan)]
        names = _names(made)
        sets = [_written(name, pairs, lengths, names) for pairs, lengths in zip(made, plan, strict=True)]
        validation, test = sets[1 : 1 + train_len], sets[1 + train_len :]
        fingerprint = digest(name, *(s.prompts.tobytes() + s.answers.tobytes() for s in sets))[:16]
        return cls(name, f"made by {name}", fingerprint, names, sets[0], tuple(validation), tuple(test), marker)

    @classmethod
    def from_rows(cls, rows: Rows) -> SolveData:
        """From rows with `prompt` and `answer`, and where given `length` (else the prompt's symbols are counted).

        Texts with blanks are split at them, others into characters. Rows' own split is kept: to ask longer problems
        than are trained on, put them into the test part.

        Raises:
            UserError: a column is missing, or a length is no whole number of at least 1.
        """
        rows.require("prompt", "answer")
        rows = rows.filled("prompt", "answer")
        rows = rows if rows.splits is not None else split(rows)
        columns = rows.columns
        blanks = any(" " in str(text).strip() for key in ("prompt", "answer") for text in columns[key])
        pairs = [
            (_symbols(p, blanks), _symbols(a, blanks))
            for p, a in zip(columns["prompt"], columns["answer"], strict=True)
        ]
        lengths = [len(p) for p, _ in pairs]
        if "length" in columns:
            try:
                lengths = [int(value) for value in columns["length"]]
            except (TypeError, ValueError):
                raise UserError(f"{rows.name}: column 'length' must hold whole numbers") from None
        if min(lengths) < 1:
            raise UserError(f"{rows.name}: column 'length' must be at least 1")
        names = _names([pairs])

        def part(name: str) -> list[int]:
            return [i for i, s in enumerate(rows.splits or ()) if s == name]

        def written(indices: list[int]) -> Problems:
            return _written(rows.name, [pairs[i] for i in indices], [lengths[i] for i in indices], names)

        def by_length(name: str) -> tuple[Problems, ...]:
            members = part(name)
            return tuple(
                written([i for i in members if lengths[i] == n]) for n in sorted({lengths[i] for i in members})
            )

        train = written(part("train"))
        return cls(rows.name, rows.source, rows.fingerprint, names, train, by_length("validation"), by_length("test"))


@dataclass(frozen=True)
class SolveBatch:
    """Two problems a row, each a segment of its own: ids, segments and `counted` (answers), `[B, T]` each."""

    ids: Tensor
    segments: Tensor
    counted: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    def shard(self, rank: int, world: int) -> SolveBatch:
        return SolveBatch(self.ids[rank::world], self.segments[rank::world], self.counted[rank::world])


class Packed:
    """Batches of problems, the longest in a row with the shortest, so that little is padding; pure in the step.

    Segments do not see each other and positions start at 0 in each: a problem cannot tell where in a row it stands.
    """

    def __init__(self, given: Problems, batch: int, seed: int) -> None:
        self.ids, self.real, self.counted = given.sequences()
        self.sizes = self.real.sum(1)
        self.order = Order(len(given), batch, seed)

    def __call__(self, step: int, progress: float) -> SolveBatch:
        chosen = self.order(step)
        chosen = chosen[np.argsort(self.sizes[chosen], kind="stable")]
        short, long = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :][::-1]
        begin = self.sizes[long]
        width = int(np.max(begin + np.pad(self.sizes[short], (0, len(long) - len(short)))))
        ids = np.full((len(long), width), PAD, dtype=np.int64)
        counted = np.zeros(ids.shape, dtype=bool)
        for members, offset in ((long, np.zeros_like(begin)), (short, begin[: len(short)])):
            row, place = np.nonzero(self.real[members])
            ids[row, place + offset[row]] = self.ids[members][row, place]
            counted[row, place + offset[row]] = self.counted[members][row, place]
        segments = (np.arange(width) >= begin[:, None]).astype(np.int64)
        return SolveBatch(torch.from_numpy(ids), torch.from_numpy(segments), torch.from_numpy(counted))


def _check(train_len: int, test_len: int) -> None:
    if not 1 <= train_len <= test_len:
        raise UserError(f"train_len is {train_len} and test_len {test_len}; use 1 <= train_len <= test_len")


def _called(
    name: str, function: Function, lengths: Sequence[int], seed: tuple[int, int]
) -> list[tuple[Symbols, Symbols]]:
    """One problem of each length, with the global generators seeded and then given back as they were."""
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(repr(seed))
    np.random.seed(np.random.SeedSequence(seed).generate_state(1)[0])
    try:
        made = [function(length) for length in lengths]
        return [(_symbols(prompt, False), _symbols(answer, False)) for prompt, answer in made]
    except Exception as error:
        raise UserError(
            f"{name} must give a prompt and an answer for a length; it failed with {type(error).__name__}: {error}"
        ) from error
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)


def _symbols(given: Any, blanks: bool) -> list[str]:
    if isinstance(given, str):
        return given.split() if blanks else list(given)
    return [str(symbol) for symbol in given]


def _names(sets: Sequence[Sequence[tuple[Symbols, Symbols]]]) -> tuple[str, ...]:
    found = sorted({symbol for pairs in sets for pair in pairs for side in pair for symbol in side})
    return ("<pad>", "<start>", "<ask>", "<end>", *found)


def _written(
    name: str, pairs: Sequence[tuple[Symbols, Symbols]], lengths: Sequence[int], names: Sequence[str]
) -> Problems:
    if not pairs:
        raise UserError(f"{name}: no problems to train on; give more rows, or a split column with train rows")
    index = {symbol: i for i, symbol in enumerate(names[FIRST:], FIRST)}
    prompts = [[START, *(index[s] for s in prompt), ASK] for prompt, _ in pairs]
    answers = [[*(index[s] for s in answer), END] for _, answer in pairs]
    return Problems(name, np.array(lengths), _padded(prompts), _padded(answers), Vocabulary(len(names) - FIRST))


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    out = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
