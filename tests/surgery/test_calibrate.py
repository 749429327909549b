"""Statistics streamed block by block equal those of plain forward passes."""

import numpy as np
import pytest
import torch

from twofold.errors import UserError
from twofold.parts import Mean
from twofold.surgery.calibrate import Gram, Sample, Squares, Walk
from twofold.surgery.units import Units, find

from .networks import batches, made


def inputs(net, name) -> np.ndarray:
    """What a module reads at real tokens in plain forward passes, `[n, m]`."""
    module, rows = net.get_submodule(name), []
    current = []
    hook = module.register_forward_pre_hook(lambda _, args: current.append(args[0]))
    for ids, real in batches():
        with torch.no_grad():
            net(ids, real)
        rows.append(current.pop()[real])
    hook.remove()
    return torch.cat(rows).double().numpy()


def reader_name(unit: Units) -> str:
    return f"{unit.name}.{'down' if unit.kind == 'neuron' else 'out'}"


def test_grams_are_those_of_forward_passes(net):
    units = find(net)
    seen = {}
    for layer in Walk(net, batches()):
        wanted = {u: Gram() for u in units if u.block is layer.block}
        layer.observe({u.reader: gram for u, gram in wanted.items()})
        seen |= wanted
    assert len(seen) == len(units)
    for unit, gram in seen.items():
        z = inputs(net, reader_name(unit))
        assert gram.count == len(z) == sum(int(real.sum()) for _, real in batches())
        np.testing.assert_allclose(gram.matrix, z.T @ z, rtol=1e-5, atol=1e-5 * len(z))
        np.testing.assert_allclose(gram.mean, z.mean(0), rtol=1e-5, atol=1e-6)


def test_later_blocks_see_what_was_cut(net):
    units = find(net)
    for layer in Walk(net, batches()):
        here = [u for u in units if u.block is layer.block]
        for unit in here:
            gram = Gram()
            layer.observe({unit.reader: gram})
            z = inputs(net, reader_name(unit))  # of the network as it is now
            np.testing.assert_allclose(gram.matrix, z.T @ z, rtol=1e-4, atol=1e-5 * len(z))
            unit.keep(np.arange(unit.count // 2 + 1))


def test_padding_is_never_counted():
    net = made("bert")
    (ids, real), *_ = batches()

    def gram(ids):
        for layer in Walk(net, [(ids, real)]):
            found = Gram()
            layer.observe({layer.block.channel.down: found})
        return found.matrix

    other = torch.where(real, ids, (ids + 1) % 50)
    np.testing.assert_allclose(gram(ids), gram(other), rtol=1e-6)


def test_one_pass_for_a_statistic_and_one_to_move_on():
    net = made("bert")
    calls = {"up": 0, "down": 0}
    for block in net.model.stack.layers:
        for name in calls:
            getattr(block.channel, name).register_forward_hook(
                lambda *_, name=name: calls.__setitem__(name, calls[name] + 1)
            )
    for layer in Walk(net, batches()):
        layer.observe({layer.block.channel.down: Squares()})
    blocks, n = len(net.model.stack.layers), len(batches())
    assert calls["up"] == (2 * blocks - 1) * n
    assert calls["down"] == (blocks - 1) * n  # a statistic stops where it is read; nothing follows the last


def test_walking_leaves_the_network_as_it_was():
    net = made("llama").train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    for layer in Walk(net, batches()):
        layer.observe({layer.block.mixer.out: Squares()})
    assert net.training
    assert not any(m._forward_pre_hooks for m in net.modules())
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_squares_are_norms():
    rows = torch.randn(20, 6)
    squares = Squares()
    squares.add(rows[:7])
    squares.add(rows[7:])
    np.testing.assert_allclose(squares.norms, np.linalg.norm(rows.numpy(), axis=0), rtol=1e-6)
    assert squares.count == 20


def test_samples_are_uniform_and_repeatable():
    def drawn(seed):
        sample = Sample(10, seed)
        for part in torch.arange(100.0)[:, None].split(7):
            sample.add(part)
        return sample.rows[:, 0]

    assert (drawn(3) == drawn(3)).all()
    assert len(set(drawn(3))) == 10
    often = np.bincount(np.concatenate([drawn(s) for s in range(400)]).astype(int), minlength=100)
    assert abs(often[:10].mean() - 40) < 8
    assert abs(often[-10:].mean() - 40) < 8
    few = Sample(10)
    few.add(torch.ones(4, 2))
    assert few.rows.shape == (4, 2)


def test_no_blocks():
    with pytest.raises(UserError, match="no transformer blocks"):
        Walk(Mean(), batches())
