"""Wave RNN: what it starts as, and the floor that a memory must beat. The ring: tests/parts/test_long_mixers.py."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.tasks import task


def test_the_input_enters_at_one_position_and_travels() -> None:
    net: Any = configure("wave-rnn", channels=2, positions=12).network(6)
    ids = torch.tensor([[2, 0, 0, 0]])
    h = net.states(ids).unflatten(-1, (2, 12))[0]
    # At the start every symbol enters alike, as a one at position 0 of each channel.
    expected = torch.zeros(4, 12)
    for t in range(4):
        expected[t, : t + 1] = 1.0
    for channel in range(2):
        torch.testing.assert_close(h[:, channel], expected)


def test_the_baseline_starts_as_the_identity() -> None:
    net: Any = configure("irnn", units=7).network(6)
    mixer = net.stack.layers[0].mixer
    assert torch.equal(mixer.weight, torch.eye(7))
    assert float(net.embedding.table.detach().std()) < 2e-3


def test_a_read_out_alone_copies_what_the_wave_holds() -> None:
    """Each symbol on a channel of its own: position delay + count is the answer, nothing is left to learn."""
    net: Any = configure("wave-rnn", channels=3, positions=20, entry="spread").network(5)
    with torch.no_grad():
        net.embedding.table.zero_()
        for symbol in range(3):
            net.embedding.table[2 + symbol].unflatten(0, (3, 20))[symbol, 0] = 1.0
        net.head.decoder.weight.zero_()
        net.head.decoder.bias.zero_()
        for symbol in range(3):
            net.head.decoder.weight[2 + symbol].unflatten(0, (3, 20))[symbol, 12] = 50.0
    data: Any = task("solve").read("copy-memory(delay=8, count=4, symbols=3)")
    figures = task("solve").evaluate(data.start(lambda vocab: net), data).figures
    assert figures["accuracy"] == 1.0
    assert figures["bits_per_label"] < 1e-6


def test_without_memory_the_loss_is_the_logarithm_of_the_symbols() -> None:
    """Judged at the answers alone; over all positions, blanks included, it is the papers' 10 ln 8 / (T + 20)."""
    data: Any = task("solve").read("copy-memory(delay=30)")
    batch = data.part("test")
    flat = torch.zeros(*batch.ids.shape, data.vocab)
    flat[..., :2] = -1e9
    counted = batch.labels >= 0
    nats = F.cross_entropy(flat[counted], batch.labels[counted])
    assert float(nats) == pytest.approx(math.log(8), rel=1e-6)
    assert counted.float().mean() == pytest.approx(10 / 50)


def test_it_learns_to_copy_over_a_short_gap() -> None:
    data = task("solve").read("copy-memory(delay=2, count=2, symbols=2)")
    made: Any = replace(configure("wave-rnn").small(), lr=1e-2)
    model = made.fit(data, Steps(150)).model
    assert task("solve").evaluate(model, data).figures["bits_per_label"] < 0.5


def test_clips_and_rates_are_as_told() -> None:
    recipe = configure("wave-rnn", clip=0.0).recipe()  # type: ignore[attr-defined]
    assert (recipe.clip, recipe.weight_decay, recipe.final) == (0.0, 0.0, 1.0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="longer than 3 positions; use kernel=3"):
        configure("wave-rnn", positions=3, kernel=5).network(4)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="no middle; use kernel=1 or kernel=3"):
        configure("wave-rnn", kernel=2).network(4)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"no middle; use kernel=3$"):
        configure("wave-rnn", positions=4, kernel=4).network(4)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="clip"):
        configure("wave-rnn", clip=-1.0)
