"""Units are really cut, and what stays behaves as if the others had been set to zero."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from twofold.errors import UserError
from twofold.parts import FFN, Block, Mean, Packed, PackedLinear, Stack, build
from twofold.surgery.units import Heads, Neurons, blocks, compact, find

from .networks import batches, made


def outputs(net):
    with torch.no_grad():
        return [net(ids, real)[real] if (out := net(ids, real)).dim() == 3 else out for ids, real in batches()]


def masked(net, kept):
    """The same network with the reader's columns of the cut units set to zero."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for unit in find(net):
            if unit.name in kept:
                cut = np.setdiff1d(np.arange(unit.count), kept[unit.name])
                unit.reader.weight[:, unit.columns(cut)] = 0
    return net


def some(net):
    """A different share of every part's units."""
    rng = np.random.default_rng(0)
    return {
        u.name: np.sort(rng.permutation(u.count)[: max(1, u.count * (i + 2) // (i + 4))])
        for i, u in enumerate(find(net))
    }


def test_compact_is_masked(net):
    kept = some(net)
    small = compact(net, kept)
    for a, b in zip(outputs(small), outputs(masked(net, kept)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    before, after = sum(p.numel() for p in net.parameters()), sum(p.numel() for p in small.parameters())
    assert after < before
    assert [u.count for u in find(small)] == [len(kept[u.name]) for u in find(net)]


def test_the_given_network_is_untouched(net):
    before = {name: t.clone() for name, t in net.state_dict().items()}
    spec = net.spec()
    compact(net, some(net))
    assert net.spec() == spec
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_spec_follows_and_builds_the_small_network(net):
    small = compact(net, some(net))
    again = build(small.spec())
    again.load_state_dict(small.state_dict())
    for a, b in zip(outputs(small), outputs(again.eval()), strict=True):
        assert torch.equal(a, b)


def test_keeping_all_is_bit_equal(net):
    same = compact(net, {u.name: np.arange(u.count) for u in find(net)})
    for a, b in zip(outputs(same), outputs(net), strict=True):
        assert torch.equal(a, b)


def test_no_two_tensors_share_storage_that_did_not_before():
    small = compact(made("t5"), some(made("t5")))
    pointers = [p.data_ptr() for p in small.parameters()]
    assert len(pointers) == len(set(pointers))


def test_groups_go_with_their_query_heads():
    net = made("llama")
    small = compact(net, {"stack.layers.1.mixer": [0, 2]})
    mixer, old = small.stack.layers[1].mixer, net.stack.layers[1].mixer
    assert (mixer.heads, mixer.kv_heads, mixer.head_dim) == (4, 2, 6)
    assert torch.equal(mixer.key.weight, torch.cat([old.key.weight[:6], old.key.weight[12:]]))
    assert torch.equal(mixer.query.weight, torch.cat([old.query.weight[:12], old.query.weight[24:]]))
    assert torch.equal(mixer.out.weight, torch.cat([old.out.weight[:, :12], old.out.weight[:, 24:]], 1))


def test_gated_neurons_take_gate_and_up_with_them():
    net = made("llama")
    neurons = next(u for u in find(net) if isinstance(u, Neurons))
    assert neurons.incoming.shape == (40, 72)
    assert neurons.outgoing.shape == (40, 36)
    neurons.keep(np.array([1, 5]))
    assert neurons.part.gate.weight.shape == neurons.part.up.weight.shape == (2, 36)


def test_a_small_network_can_be_trained_and_remembers_its_mode():
    net = made("bert").train()
    net.model.stack.layers[0].requires_grad_(False)
    small = compact(net, some(net))
    assert small.training
    first, second = small.model.stack.layers
    assert not any(p.requires_grad for p in first.parameters())
    assert all(p.requires_grad and p.is_leaf for p in second.parameters())
    small(*batches()[0]).sum().backward()


def test_kinds_can_be_chosen():
    net = made("bert")
    assert {type(u) for u in find(net, heads=False)} == {Neurons}
    assert {type(u) for u in find(net, neurons=False)} == {Heads}
    assert [u.name for u in find(net)][:2] == ["model.stack.layers.0.mixer", "model.stack.layers.0.channel"]


def test_refusals_name_the_part():
    net = made("bert")
    with pytest.raises(UserError, match="Mean has no transformer blocks"):
        find(Mean())
    with pytest.raises(UserError, match="none with FFN"):
        find(Stack([Block(None)]), heads=False)
    with pytest.raises(UserError, match=r"layers\.7"):
        compact(net, {"layers.7": [0]})
    with pytest.raises(UserError, match="neurons 0 to 47"):
        compact(net, {"model.stack.layers.0.channel": [48]})
    block = Block(None, FFN(8, 16))
    with pytest.raises(UserError, match=r"layers\.0 and layers\.1 are one shared block"):
        blocks(Stack([block, block]))


def test_packed_layers_are_refused():
    net = made("bert")
    net.model.stack.layers[1].channel.down = PackedLinear(Packed(32, 48, 4))
    with pytest.raises(UserError, match=r"layers\.1\.channel\.down is no plain matrix but PackedLinear"):
        find(net)
    net = made("bert")
    net.model.stack.layers[1].channel.up.weight = nn.Parameter(
        torch.zeros(48, 32, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(UserError, match=r"channel\.up .* torch\.int8"):
        find(net)
