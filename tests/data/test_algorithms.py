"""Made problems: their answers by brute force, their layout, their seeds."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.data.made.algorithms import ASK, END, FIRST, NAMES, PAD, START, answer, problems
from twofold.errors import UserError

BRUTE = {
    "copy": list,
    "reverse": lambda values: list(values)[::-1],
    "sort": sorted,
    "sum_mod": lambda values: [sum(values) % 10],
    "parity": lambda values: [sum(1 for value in values if value == 1) % 2],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("distinct", [None, False])
def test_answers_by_brute_force(name: str, distinct: bool | None) -> None:
    made = problems(name, (1, 10), 500, seed=7, distinct=distinct)
    seen = set()
    for length, prompt, reply in zip(made.lengths, made.prompts, made.answers, strict=True):
        symbols = [int(index) - FIRST for index in prompt[1 : 1 + length]]
        assert prompt[0] == START
        assert prompt[1 + length] == ASK
        assert not prompt[2 + length :].any()
        assert all(0 <= symbol < made.vocabulary.symbols for symbol in symbols)
        expected = BRUTE[name](symbols)
        assert answer(name, symbols) == expected
        assert reply[: len(expected)].tolist() == [symbol + FIRST for symbol in expected]
        assert reply[len(expected)] == END
        assert not reply[len(expected) + 1 :].any()
        if distinct is None and name in ("copy", "reverse", "sort"):
            assert len(set(symbols)) == len(symbols)
        seen.add(int(length))
    assert seen == set(range(1, 11))


def test_sequences_begin_at_zero_and_mark_the_answer() -> None:
    made = problems("copy", (1, 4), 50, seed=0)
    ids, real, counted = made.sequences()
    assert ids.shape == (50, 11)
    for index, length in enumerate(made.lengths):
        symbols = made.prompts[index, 1 : 1 + length].tolist()
        assert ids[index, real[index]].tolist() == [START, *symbols, ASK, *symbols, END]
        assert ids[index, counted[index]].tolist() == [*symbols, END]
        assert real[index].sum() == 2 * length + 3
        assert not ids[index, ~real[index]].any()
    assert PAD == 0


def test_seeds_decide_everything() -> None:
    first, again, other = (problems("sort", 20, 30, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.prompts, again.prompts)
    assert not np.array_equal(first.prompts, other.prompts)
    stepped = [problems("sort", 5, 4, seed=(1, step)).prompts.tolist() for step in (0, 1, 0)]
    assert stepped[0] == stepped[2] != stepped[1]
    assert set(first.lengths) == {20}
    assert first.vocabulary.size == 68 == len(first.vocabulary.names())


def test_draws_are_even() -> None:
    values = problems("copy", 8, 20_000, seed=0, symbols=16).prompts[:, 1:9] - FIRST
    counts = np.stack([np.bincount(column, minlength=16) for column in values.T])
    assert abs(counts / 20_000 - 1 / 16).max() < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("copi", 3, 1), "Did you mean 'copy'"),
        (("copy", 65, 1), "65 distinct symbols cannot be drawn from 64"),
        (("copy", 0, 1), "use at least 1"),
        (("copy", (5, 2), 1), "shortest first"),
        (("sort", 3, 0), "no 0 problems"),
    ],
)
def test_what_cannot_be_made(arguments: tuple, message: str) -> None:
    with pytest.raises(UserError, match=message):
        problems(*arguments)


def test_alphabets_that_the_rule_fixes() -> None:
    with pytest.raises(UserError, match="parity has 2 symbols, not 5"):
        problems("parity", 3, 1, symbols=5)
    assert problems("copy", 80, 2, distinct=False).prompts.shape == (2, 82)
