"""Padding, buckets and orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twofold.data.batches import Order, TokenOrder, buckets, pad
from twofold.errors import UserError


def test_pad() -> None:
    ids, real = pad([[5, 6, 7], [], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [9, 9, 9], [8, 9, 9]]
    assert real.tolist() == [[True] * 3, [False] * 3, [True, False, False]]
    assert (ids.dtype, real.dtype) == (torch.int64, torch.bool)
    assert pad([[1], [2, 3]], None)[0].tolist() == [[1, 0], [2, 3]]
    assert pad([])[0].shape == (0, 0)
    assert pad([[], []])[0].shape == (2, 0)


def test_buckets_hold_everything_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(0, 300, 2_000)
    found = buckets(lengths, tokens=1_000)
    assert sorted(index for batch in found for index in batch) == list(range(2_000))
    assert all(len(batch) * max(lengths[batch]) <= 1_000 for batch in found)
    widths = [max(lengths[batch]) for batch in found]
    assert widths == sorted(widths, reverse=True)
    assert buckets(lengths, tokens=1_000, longest_first=False) == found[::-1]
    padded = sum(len(batch) * max(lengths[batch]) for batch in found)
    assert padded < 1.01 * lengths.sum()


def test_buckets_small_cases() -> None:
    assert buckets([3, 1, 3, 2], tokens=6) == [[0, 2], [3, 1]]
    assert buckets([50, 1], tokens=6) == [[0], [1]]
    assert buckets([1, 1, 1], tokens=6, most=2) == [[0, 1], [2]]
    assert buckets([]) == []
    with pytest.raises(UserError, match="holds nothing"):
        buckets([1], tokens=0)


def test_order_covers_each_epoch_once() -> None:
    order = Order(10, 4, seed=3)
    stream = np.concatenate([order(step) for step in range(15)])
    epochs = stream.reshape(6, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_order_depends_on_the_step_alone() -> None:
    order = Order(100, 7, seed=1)
    straight = [order(step).tolist() for step in range(60)]
    backwards = [Order(100, 7, seed=1)(step).tolist() for step in reversed(range(60))]
    assert straight == backwards[::-1]
    assert [order(step).tolist() for step in (3, 59, 0, 31)] == [straight[step] for step in (3, 59, 0, 31)]
    assert Order(100, 7, seed=2)(0).tolist() != straight[0]
    assert Order(2, 5)(0).shape == (5,)
    with pytest.raises(UserError, match="at least 1"):
        Order(0, 4)


def test_token_order_covers_each_epoch_within_the_budget() -> None:
    lengths = np.random.default_rng(1).integers(1, 120, 500)
    order = TokenOrder(lengths, tokens=600, seed=5)
    epochs = [[order(epoch * len(order) + step) for step in range(len(order))] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(500))
        assert all(len(batch) * lengths[batch].max() <= 600 for batch in epoch)
    assert {tuple(sorted(batch)) for batch in epochs[0]} != {tuple(sorted(batch)) for batch in epochs[1]}
    widths = [lengths[batch].max() for batch in epochs[0]]
    assert widths != sorted(widths, reverse=True)
    again = TokenOrder(lengths, tokens=600, seed=5)
    for step in (len(order) * 2 + 3, 0, len(order) - 1):
        assert again(step).tolist() == epochs[step // len(order)][step % len(order)].tolist()
