"""Kneser–Ney on bytes against the same written as loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from twofold.catalog import Steps, configure
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.systems.baselines.n_gram import NgramModel, grams
from twofold.tasks import load, task

TEXTS = [f"the {a} sat on the {b} and said: {a}, {b}!\n" * 2 for a in ("cat", "dog", "hat") for b in ("mat", "log")]


@pytest.fixture(scope="module")
def data():
    return task("language").read(Rows.of({"text": TEXTS}))


def fitted(data, **options) -> NgramModel:
    return configure("n-gram", **options).fit(data, Steps(1)).model


def by_hand(texts, order, context: bytes, byte: int) -> float:
    """Interpolated Kneser–Ney, gram by gram."""
    seen = Counter()
    for text in texts:
        padded = bytes(order - 1) + text.encode()
        seen.update(padded[i : i + order] for i in range(len(text.encode())))
    levels = [seen]
    for _ in range(order - 1):
        levels.insert(0, Counter(gram[1:] for gram in levels[0]))
    found = 1 / 256
    for length, counts in enumerate(levels, 1):
        once, twice = (sum(n == times for n in counts.values()) for times in (1, 2))
        discount = once / (once + 2 * twice) if once else 0.5
        before = context[len(context) - length + 1 :]
        follow = [n for gram, n in counts.items() if gram[:-1] == before]
        if follow:
            own = max(counts[before + bytes([byte])] - discount, 0)
            found = (own + discount * len(follow) * found) / sum(follow)
    return found


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_it_is_the_formula(data, order) -> None:
    model, train = fitted(data, order=order), data.part("train")
    text = b"the cat, qx"
    probabilities = model.probabilities(text)
    for place in range(len(text)):
        context = (bytes(order - 1) + text[:place])[place : place + order - 1]
        assert probabilities[place] == pytest.approx(by_hand(train, order, context, text[place]), rel=1e-9)


@pytest.mark.parametrize("order", [1, 3, 8])
def test_probabilities_of_what_may_follow_sum_to_one(data, order) -> None:
    model = fitted(data, order=order)
    for context in (b"", b"the ca", b"\xff\xfe", b"xyzzy"):
        total = sum(model.probabilities(context + bytes([byte]))[-1] for byte in range(256))
        assert total == pytest.approx(1, rel=1e-9)


def test_grams_stand_at_every_byte() -> None:
    assert grams(b"abc", 2).tolist() == [ord("a"), 256 * ord("a") + ord("b"), 256 * ord("b") + ord("c")]
    assert grams(b"", 3).tolist() == []


def test_longer_contexts_predict_better(data) -> None:
    bits = [task("language").evaluate(fitted(data, order=n), data).figures["bits_per_byte"] for n in (1, 2, 4)]
    assert bits[0] > bits[1] > bits[2] > 0


def test_it_is_kept(data, tmp_path) -> None:
    model = fitted(data, order=4)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.score(TEXTS).nats, model.score(TEXTS).nats)
    with pytest.raises(UserError, match="or fit one: decoder"):
        again.generate("the")


def test_a_part_of_the_text_may_be_counted(data) -> None:
    assert int(fitted(data, limit=10).counts[-1].seen.sum()) == 10


@pytest.mark.parametrize("damage", ["garbage", "cut", "unsorted", "missing"])
def test_damaged_counts_are_refused(damage, data, tmp_path) -> None:
    path = fitted(data).save(tmp_path / "model") / "counts.npz"
    if damage == "missing":
        path.unlink()
    elif damage == "unsorted":
        np.savez(path, grams=np.array([2, 1], np.uint64), seen=np.array([1, 1]))
    else:
        path.write_bytes(b"garbage" if damage == "garbage" else path.read_bytes()[:40])
    with pytest.raises(UserError, match="fit the model again"):
        load(tmp_path / "model")
