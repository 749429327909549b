"""A recording holds what plain passes give, at positions that do not depend on the batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twofold.errors import UserError
from twofold.parts.trace import states
from twofold.surgery import record

from .networks import batches, made


def test_it_holds_the_states_of_plain_passes(tmp_path: Path) -> None:
    net = made("llama")
    taps = states(net)
    found = record(net, net.states, batches(), taps, 3, file=tmp_path / "states.npy")
    assert found.values.shape == (len(found), 3, 36)
    assert isinstance(found.values, np.memmap)
    ids = torch.cat([i for i, _ in batches()])
    real = torch.cat([r for _, r in batches()])
    with torch.no_grad():
        for stop in range(3):
            whole = net.states(ids, real, stop=stop)
            expected = torch.stack([whole[r][real[r]][p] for r, p in zip(found.rows, found.places, strict=True)])
            torch.testing.assert_close(torch.as_tensor(found.values[:, stop]), expected, rtol=1e-4, atol=1e-5)
    assert (found.lengths == real.sum(1).numpy()[found.rows]).all()


def test_positions_are_real_distinct_and_behind_the_first() -> None:
    net = made("llama")
    every = record(net, net.states, batches(), states(net))
    lengths = torch.cat([real.sum(1) for _, real in batches()])
    assert len(every) == int((lengths - 1).sum())
    assert every.places.min() == 1
    few = record(net, net.states, batches(), states(net), 3)
    assert np.bincount(few.rows).tolist() == [min(3, int(n) - 1) for n in lengths]
    assert len(set(zip(few.rows, few.places, strict=True))) == len(few)
    other = record(net, net.states, batches(), states(net), 3, seed=1)
    assert (few.places != other.places).any()


def test_left_padding_and_other_batches_change_nothing() -> None:
    net = made("llama")
    ids = torch.cat([i for i, _ in batches()])
    real = torch.cat([r for _, r in batches()])
    order = torch.argsort(real.int(), dim=1, stable=True)  # padding first
    left = [(ids.gather(1, order), real.gather(1, order))]
    one, two = (record(net, net.states, b, states(net), 2) for b in (batches(), left))
    assert (one.places == two.places).all()
    np.testing.assert_allclose(one.values, two.values, rtol=1e-4, atol=1e-5)


def test_nothing_to_record_is_refused() -> None:
    net = made("llama")
    with pytest.raises(UserError, match="give longer texts"):
        record(net, net.states, batches(), states(net), skip=12)
