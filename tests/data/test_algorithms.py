"""Made problems: their answers by brute force, their layout, their seeds."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.data.made.algorithms import ASK, END, FIRST, NAMES, PAD, START, answer, apart, named, problems
from twofold.errors import UserError

BRUTE = {
    "copy": list,
    "reverse": lambda values: list(values)[::-1],
    "sort": sorted,
    "sum_mod": lambda values: [sum(values) % 10],
    "parity": lambda values: [sum(1 for value in values if value == 1) % 2],
    "add": lambda values: added(values),
}


def added(values: list[int]) -> list[int]:
    """By Python's own whole numbers."""
    half = len(values) // 2
    first, second = (int("".join(map(str, part))) for part in (values[:half], values[half + 1 :]))
    return [int(digit) for digit in reversed(str(first + second).zfill(half + 1))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("distinct", [None, False])
def test_answers_by_brute_force(name: str, distinct: bool | None) -> None:
    made = problems(name, (1, 10), 500, seed=7, distinct=distinct)
    seen = set()
    for length, prompt, reply in zip(made.lengths, made.prompts, made.answers, strict=True):
        width = 2 * length + 1 if name == "add" else length
        symbols = [int(index) - FIRST for index in prompt[1 : 1 + width]]
        assert prompt[0] == START
        assert prompt[1 + width] == ASK
        assert not prompt[2 + width :].any()
        assert all(0 <= symbol < made.vocabulary.size - FIRST for symbol in symbols)
        assert [i for i, s in enumerate(symbols) if s >= made.vocabulary.symbols] == ([length] if name == "add" else [])
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


@pytest.mark.parametrize(
    ("first", "second", "digits"),
    [
        ("1", "2", "30"),
        ("9", "9", "81"),
        ("123", "456", "9750"),  # no carry
        ("019", "005", "4200"),
        ("999", "001", "0001"),  # a carry through nines
        ("500", "500", "0001"),
        ("445", "555", "0001"),  # columns that add up to 9 hand it on
        ("444", "555", "9990"),  # and hand on none where there is none
        ("999", "999", "8991"),
        ("0" * 40, "0" * 40, "0" * 41),
        ("9" * 40, "0" * 39 + "1", "0" * 40 + "1"),
    ],
)
def test_sums_by_hand(first: str, second: str, digits: str) -> None:
    assert answer("add", [*map(int, first), 10, *map(int, second)]) == [*map(int, digits)]


def test_sums_are_written_with_a_mark_and_back_to_front() -> None:
    made = problems("add", 3, 4, seed=0)
    names = made.vocabulary.names()
    assert names[FIRST:] == [*map(str, range(10)), "+"]
    ids, real, counted = made.sequences()
    assert real.all()
    for row, asked in zip(ids, counted, strict=True):
        text = [names[index] for index in row]
        assert (text[0], text[4], text[8], text[-1]) == ("<start>", "+", "<ask>", "<end>")
        total = int("".join(text[1:4])) + int("".join(text[5:8]))
        assert "".join(text[9:13]) == f"{total:04}"[::-1]
        assert asked.nonzero()[0].tolist() == [9, 10, 11, 12, 13]


@pytest.mark.parametrize("values", [[], [10], [1, 2], [1, 10], [1, 10, 2, 3], [1, 2, 10, 3], [1, 10, 11], [1, 10, -1]])
def test_what_cannot_be_added(values: list[int]) -> None:
    with pytest.raises(UserError, match="add takes 2 numbers of as many digits"):
        answer("add", values)


def test_sets_of_problems_have_nothing_in_common() -> None:
    sets = apart("add", 2, (900, 300, 300), seed=3)
    assert [len(given) for given in sets] == [900, 300, 300]
    seen = [frozenset((tuple(row[1:3]), tuple(row[4:6]))) for given in sets for row in given.prompts.tolist()]
    assert len(set(seen)) == 1500
    for given in sets:
        for prompt, reply in zip(given.prompts - FIRST, given.answers - FIRST, strict=True):
            assert reply[:3].tolist() == added(prompt[1:6].tolist())
    again = apart("add", 2, (900, 300, 300), seed=3)
    assert all(np.array_equal(one.prompts, two.prompts) for one, two in zip(sets, again, strict=True))
    assert not np.array_equal(sets[0].prompts, apart("add", 2, (900,), seed=4)[0].prompts)
    with pytest.raises(UserError, match=r"no 60 different problems of length 1 were found, only 5[0-5]"):
        apart("add", 1, (50, 10))  # 55 pairs of digits without regard to order


def test_problems_by_name() -> None:
    assert named("mqar") is None
    assert named("algorithms").problem == "sort"  # type: ignore[union-attr]
    found = named("algorithms:add(length=3, train=4000)")
    assert found is not None
    assert (found.problem, found.sizes) == ("add", {"length": 3, "train": 4000})
    assert named("algorithms:sum_mod").sizes == {}  # type: ignore[union-attr]
    for text, message in {
        "add(length=3)": "needs both sizes",
        "add(length=0, train=5)": "each at least 1",
        "add(digits=3)": "size of add",
        "add(length=x, train=5)": "must be a whole number",
        "ad(length=3, train=5)": "Did you mean 'add'",
        "add(length=3": "problem",
    }.items():
        with pytest.raises(UserError, match=message):
            named(f"algorithms:{text}")
