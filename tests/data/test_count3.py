"""Count3: both solutions are its definition, the modulus is the place, and sequences obey the rule."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from twofold.catalog import Steps, configure
from twofold.data.made import sequences
from twofold.data.made.count3 import Count3, by_pairs, by_table
from twofold.errors import UserError
from twofold.tasks import task

SOLUTIONS = (by_pairs, by_table)


def counted(tokens: list[int], modulus: int) -> int:
    """The definition, word for word."""
    places = range(1, len(tokens) + 1)
    x = dict(zip(places, tokens, strict=True))
    pairs = {(i, j) for i in places for j in places if (x[i] + x[j] + x[len(tokens)]) % modulus == 0}
    return len(pairs) % modulus


@pytest.mark.parametrize("solve", SOLUTIONS)
@pytest.mark.parametrize("modulus", [None, 4, 7])
def test_random_sequences_up_to_12_tokens(solve, modulus) -> None:
    generator = np.random.default_rng(0)
    for n in range(1, 13):
        tokens = generator.integers(0, 64, (200, n))
        wanted = [counted(row, modulus or n) for row in tokens.tolist()]
        assert solve(tokens, modulus).tolist() == wanted


@pytest.mark.parametrize("solve", SOLUTIONS)
@pytest.mark.parametrize(("n", "symbols"), [(1, 6), (2, 6), (3, 6), (4, 4), (5, 3)])
def test_every_short_sequence(solve, n, symbols) -> None:
    tokens = np.array(list(product(range(symbols), repeat=n)))
    assert solve(tokens).tolist() == [counted(row, n) for row in tokens.tolist()]
    assert solve(tokens, 4).tolist() == [counted(row, 4) for row in tokens.tolist()]


@pytest.mark.parametrize("solve", SOLUTIONS)
def test_a_case_by_hand(solve) -> None:
    # Modulo 3, pairs must add up to 1 beside a newest token of 2; in brackets, the places of those that do.
    assert solve(np.array([[1, 0, 2]])).tolist() == [0]  # (1, 2), (2, 1) and (3, 3)
    assert solve(np.array([[1, 1, 2]])).tolist() == [1]  # (3, 3)
    assert solve(np.array([[2, 2, 2]])).tolist() == [0]  # all nine
    assert solve(np.array([[2, 2, 2]]), 2).tolist() == [1]  # all nine, modulo 2


@pytest.mark.parametrize("solve", SOLUTIONS)
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint64])
def test_small_integers_do_not_wrap_around(solve, kind) -> None:
    tokens = np.random.default_rng(0).integers(0, 128, (20, 7))
    assert solve(tokens.astype(kind)).tolist() == [counted(row, 7) for row in tokens.tolist()]


def test_solutions_agree_at_full_length() -> None:
    tokens = np.random.default_rng(1).integers(0, 64, (20, 64))
    assert by_pairs(tokens).tolist() == by_table(tokens).tolist()
    assert by_pairs(tokens, 4).tolist() == by_table(tokens, 4).tolist()


@pytest.mark.parametrize(
    ("text", "vocab", "prefix"),
    [("count3", 64, 16), ("count3(time=12, prefix=5)", 12, 5), ("count3(modulus=4)", 4, 16)],
)
def test_the_rule_holds_at_every_place_behind_the_prefix(text, vocab, prefix) -> None:
    kind = sequences.parse(text)
    ids, labels = kind.sample(8, np.random.default_rng(0))
    assert kind.vocab == vocab
    assert ids.shape == labels.shape == (8, kind.length)
    assert ids.min() >= 0
    assert max(ids.max(), labels.max()) < vocab
    assert (labels[:, : prefix - 1] == -100).all()
    assert (labels[:, prefix - 1 : -1] == ids[:, prefix:]).all()
    fixed = 4 if "modulus" in text else None
    for row, wanted in zip(ids.tolist(), labels.tolist(), strict=True):
        for n in range(prefix, kind.length + 1):
            assert wanted[n - 1] == counted(row[:n], fixed or n)
            assert fixed is not None or wanted[n - 1] < n
    given = kind.sample(3000, np.random.default_rng(1))[0][:, :prefix]
    shares = np.bincount(given.ravel(), minlength=vocab) / given.size
    assert shares == pytest.approx(np.full(vocab, 1 / vocab), rel=0.25)


@pytest.mark.parametrize("modulus", [0, 4])
def test_tokens_can_all_be_random(modulus) -> None:
    kind = sequences.parse(f"count3(time=12, prefix=5, modulus={modulus}, random=1)")
    ids, labels = kind.sample(300, np.random.default_rng(0))
    assert (labels[:, :4] == -100).all()
    for n in range(5, 13):
        assert labels[:, n - 1].tolist() == [counted(row[:n], modulus or n) for row in ids.tolist()]
    assert np.bincount(ids[:, -1], minlength=kind.vocab) / 300 == pytest.approx(1 / kind.vocab, abs=0.1)


def test_a_small_fixed_modulus_runs_in_circles() -> None:
    ids, _ = sequences.parse("count3(modulus=4)").sample(500, np.random.default_rng(0))
    assert len(np.unique(ids[:, -24:], axis=0)) == 4
    ids, _ = sequences.parse("count3").sample(500, np.random.default_rng(0))
    assert len(np.unique(ids[:, -24:], axis=0)) == 500


def test_the_same_seed_gives_the_same_sequences() -> None:
    kind = sequences.parse("count3(time=24)")
    one, two, other = (kind.sample(5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert not (one[0] == other[0]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count3(prefix=0)", "prefix is 0"),
        ("count3(time=8)", r"prefix is 16.*count3\(time=8, prefix=2\)"),
        ("count3(modulus=1)", "modulus is 1"),
        ("count3(random=2)", "random is 2"),
        ("count3(alphabet=4)", "size of count3"),
        ("count3(time=x)", "whole number"),
    ],
)
def test_unfit_sizes_are_refused(text, message) -> None:
    with pytest.raises(UserError, match=message):
        sequences.parse(text)


def test_a_modulus_below_zero_is_refused_from_python_too() -> None:
    with pytest.raises(UserError, match="modulus is -1; it must be at least 2, or 0"):
        Count3(modulus=-1)


@pytest.mark.parametrize("id", ["entp", "backbone"])
def test_encoders_and_decoders_learn_from_it(id) -> None:
    solve = task("solve")
    data = solve.read("count3(time=6, prefix=3, modulus=2)").cut(0.1)
    model = configure(id, dim=16, heads=2, layers=1, batch=8).fit(data, Steps(3)).model
    figures = solve.evaluate(model, data).figures
    assert 0 <= figures["accuracy"] <= 1
    assert figures["log_likelihood"] < 0
