"""Reading early layers, and leaving at them."""

from __future__ import annotations

import math

import pytest
import torch

from twofold.decoding import ExitHead, Threshold, first_exit, gap
from twofold.errors import UserError
from twofold.parts import decoder, encoder

IDS = torch.randint(0, 20, (2, 7), generator=torch.Generator().manual_seed(0))


def test_the_last_layer_is_read_as_the_network_does() -> None:
    torch.manual_seed(0)
    net = decoder(20, 16, 3, 2).eval()
    last = net.states(IDS, stop=3)
    torch.testing.assert_close(ExitHead(net)(last), net(IDS))
    turn = torch.linalg.qr(torch.randn(16, 16)).Q
    torch.testing.assert_close(ExitHead(net, turn)(last @ turn.T), net(IDS), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="no head"):
        ExitHead(encoder(20, 16, 1, 2))


def test_gap_is_the_difference_of_two_probabilities() -> None:
    assert float(gap(torch.tensor([0.5, 0.2, 0.3]).log())) == pytest.approx(0.2)
    assert float(gap(torch.zeros(4))) == 0


def test_thresholds() -> None:
    places, lengths = torch.tensor([0, 5, 10]), torch.tensor([10, 10, 10])
    assert Threshold(0.7)(places, lengths).tolist() == pytest.approx([0.7] * 3)
    falling = Threshold(0.7, falling=True)(places, lengths).tolist()
    assert falling == pytest.approx([0.73, 0.63 + 0.1 * math.exp(-2), 0.63 + 0.1 * math.exp(-4)])


def test_the_first_sure_layer_is_taken() -> None:
    sure = torch.tensor([[0.1, 0.9, 0.95], [0.1, 0.2, 0.3], [0.0, 0.0, 0.0]])
    at = lambda value: first_exit(sure, torch.full((3,), value)).tolist()  # noqa: E731
    assert at(0.5) == [1, 3, 3]
    assert at(0.0) == [0, 0, 0]
    assert at(1.01) == [3, 3, 3]
    assert first_exit(sure, torch.tensor([0.5, 0.2, 0.1])).tolist() == [1, 1, 3]
    assert first_exit(sure[:, :0], torch.zeros(3)).tolist() == [0, 0, 0]  # no layer to leave at
