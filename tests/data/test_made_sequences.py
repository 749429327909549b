"""Known answers of sequences made of embedded data, and of sequences of numbers."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.data import digits, standard_library
from twofold.data.made import sequences
from twofold.data.splits import split
from twofold.errors import UserError


def sample(text: str, n: int = 64, part: str = "train", seed: int = 0):
    kind = sequences.parse(text)
    return kind, *kind.sample(n, np.random.default_rng(seed), part)


def test_adding_asks_for_the_sum_of_the_two_marked_numbers() -> None:
    _, values, targets = sample("adding(time=21)", 2000)
    assert values.dtype == targets.dtype == np.float32
    numbers, marks = values[..., 0], values[..., 1]
    assert (marks.sum(1) == 2).all()
    assert (marks[:, :10].sum(1) == 1).all()
    assert np.isnan(targets[:, :-1]).all()
    np.testing.assert_allclose(targets[:, -1], (numbers * marks).sum(1), rtol=1e-6)
    assert numbers.min() >= 0
    assert numbers.max() <= 1
    assert targets[:, -1].mean() == pytest.approx(1, abs=0.03)
    assert targets[:, -1].var() == pytest.approx(1 / 6, rel=0.1)  # the error of the best guess


def test_least_squares_solves_what_a_context_determines() -> None:
    kind, values, targets = sample("icl-linear(dim=3, points=6)", 40)
    assert values.shape == (40, 11, 4)
    assert np.isnan(targets[:, 1::2]).all()
    for row, wanted in zip(values, targets, strict=True):
        points, answers = row[::2, :3], row[1::2, 3]
        assert not row[::2, 3].any()
        assert not row[1::2, :3].any()
        np.testing.assert_array_equal(wanted[:-1:2], answers)
        found = np.linalg.lstsq(points[:3].astype(float), answers[:3].astype(float), rcond=None)[0]
        np.testing.assert_allclose(points[3:] @ found, wanted[::2][3:], atol=1e-2)
    many = kind.sample(20_000, np.random.default_rng(1))[1]
    assert many[:, 0].var() == pytest.approx(1, rel=0.05)


def test_digits_come_pixel_by_pixel() -> None:
    rows = split(digits.digits())
    held = {part: [i for i, name in enumerate(rows.splits) if name == part] for part in ("train", "test")}
    images = {
        part: {tuple(np.rint(rows.columns["image"][i].astype(float).ravel() * 16 / 255)) for i in held[part]}
        for part in held
    }
    kind, ids, labels = sample("seq-digits", 10_000, "test")
    assert ids.shape == (len(held["test"]), 64)  # each once
    assert {tuple(row) for row in ids} == images["test"]
    known = {
        tuple(np.rint(rows.columns["image"][i].astype(float).ravel() * 16 / 255)): int(rows.columns["label"][i])
        for i in held["test"]
    }
    assert [known[tuple(row)] for row in ids] == (labels[:, -1] - 17).tolist()
    assert (labels[:, :-1] == -100).all()
    assert kind.vocab == 27
    _, trained, _ = sample("seq-digits", 300)
    assert {tuple(row) for row in trained} <= images["train"]

    _, shuffled, moved = sample("seq-digits(permuted=1)", 50)
    _, plain, same = sample("seq-digits", 50)
    assert (moved == same).all()
    order = np.random.default_rng(0).permutation(64)
    assert (shuffled == plain[:, order]).all()

    _, noisy, answers = sample("seq-digits(noise=40)", 50)
    assert noisy.shape == (50, 104)
    assert (noisy[:, :64] == plain).all()
    assert len(np.unique(noisy[:, 64:])) == 17
    assert (answers[:, -1] == same[:, -1]).all()


def test_a_needle_can_be_read_off_the_prose() -> None:
    rows = split(standard_library.texts())
    for part in ("train", "test"):
        whole = "\n".join(t for t, name in zip(rows.columns["text"], rows.splits, strict=True) if name == part).encode()
        _, ids, labels = sample("needle(time=160)", 30, part)
        assert ids.shape == (30, 160)
        for row, wanted in zip(ids, labels, strict=True):
            text = bytes(row.astype(np.uint8))
            before, said, after = text.partition(b" the code for ")
            word, code = after[:5], after[9:13]
            assert said
            assert after[5:9] == b" is "
            assert code.isdigit()
            assert bytes(wanted[-4:].astype(np.uint8)) == code
            assert text.endswith(b" the code for " + word + b" is " + code[:3])
            prose = before + after[15 : -len(said + word + b" is " + code[:3])]
            assert prose in whole
        assert (labels[:, :-4] == -100).all()


@pytest.mark.parametrize(("first", "last"), [(0, 0), (100, 100), (40, 60)])
def test_a_needle_lies_at_its_depth(first: int, last: int) -> None:
    _, ids, _ = sample(f"needle(time=200, first={first}, last={last})", 50)
    room = 200 - 29 - 26
    places = [bytes(row.astype(np.uint8)).index(b" the code for ") for row in ids]
    assert min(places) >= room * first // 100
    assert max(places) <= room * last // 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adding(time=1)", "at least 2"),
        ("icl-linear(points=0)", "at least 1"),
        ("seq-digits(permuted=2)", "0 or 1"),
        ("needle(time=60)", "at least 80"),
        ("needle(first=70, last=30)", "first <= last"),
        ("needle(deep=3)", "depth|time"),
    ],
)
def test_unfit_sizes_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sequences.parse(text)
