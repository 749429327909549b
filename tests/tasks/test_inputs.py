"""Training inputs: states of frozen layers, and that they are computed once."""

from __future__ import annotations

import torch

from twofold.parts import Mean, TextEncoder, presets
from twofold.tasks.inputs import Kept, StateStore, TokenStore, freeze, keeping, store

TEXTS = [[2, 3, 4], [5, 6], [7, 8, 9, 10]]


def tower(seed: int = 0, top: int = 1) -> TextEncoder:
    torch.manual_seed(seed)
    net = TextEncoder(presets.encoder(20, 16, 3, 2), Mean(), normalise=True).eval()
    freeze(net.model, top, "it")
    return net


def test_states_stand_in_for_the_frozen_layers() -> None:
    net = tower()
    kept = store(net, TEXTS, 0)
    assert isinstance(kept, StateStore)
    assert isinstance(store(tower(top=0), TEXTS, 0), TokenStore)
    ids = TokenStore(TEXTS, 0).take([2, 0])
    torch.testing.assert_close(kept.take([2, 0]).embed(net), ids.embed(net), rtol=0.02, atol=0.02)


def test_whoever_asks_for_the_same_states_gets_those_that_are_there() -> None:
    with keeping() as kept:
        first = store(tower(), TEXTS, 0)
        assert kept.saved == 0
        assert store(tower(), TEXTS, 0) is first
        assert kept.saved > 0
        for other in (store(tower(1), TEXTS, 0), store(tower(), TEXTS[:2], 0), store(tower(top=2), TEXTS, 0)):
            assert other is not first
    assert store(tower(), TEXTS, 0) is not first


def test_layers_that_are_trained_do_not_matter_and_frozen_ones_do() -> None:
    net = tower()
    with keeping(), torch.no_grad():
        first = store(net, TEXTS, 0)
        next(net.model.stack.layers[2].parameters()).add_(1)
        assert store(net, TEXTS, 0) is first
        next(net.model.stack.layers[1].parameters()).add_(1)
        assert store(net, TEXTS, 0) is not first


def test_the_longest_unused_go_first() -> None:
    nets = [tower(seed) for seed in range(3)]
    kept = Kept(most=2 * StateStore(nets[0], TEXTS, 0, 2).nbytes)
    a, b = (kept.store(net, TEXTS, 0, 2) for net in nets[:2])
    assert kept.store(nets[0], TEXTS, 0, 2) is a
    kept.store(nets[2], TEXTS, 0, 2)
    assert kept.store(nets[0], TEXTS, 0, 2) is a
    assert kept.store(nets[1], TEXTS, 0, 2) is not b


def test_weights_are_read_once_until_they_change(monkeypatch) -> None:
    net, read = tower(), []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: (read.append(tensor), cpu(tensor))[1])
    with keeping(), torch.no_grad():
        store(net, TEXTS, 0)
        every = len(read)
        assert every > 0
        store(net, TEXTS[:2], 0)
        assert len(read) == every
        changed = next(net.model.stack.layers[0].parameters())
        changed.add_(1)
        store(net, TEXTS, 0)
        assert len(read) == every + 1
        changed.data = changed.data + 1
        store(net, TEXTS, 0)
        assert len(read) == every + 2
