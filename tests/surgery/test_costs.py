"""The cost model against torch's own counter."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from twofold.errors import UserError
from twofold.parts import Block, LayerNorm
from twofold.surgery.costs import Budget, block_flops, unit_flops
from twofold.surgery.units import compact, find

from .networks import VOCAB, made


def counted(net, length):
    """Operations per token of the blocks, as torch counts them."""
    stack = net.model.stack if hasattr(net, "model") else net.stack
    states = torch.randn(1, length, next(stack.parameters()).shape[-1])
    dim = net.model.embedding.dim if hasattr(net, "model") else net.embedding.dim
    states = torch.randn(1, length, dim)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        stack(states)
    return counter.get_total_flops() / length


def test_blocks_cost_what_torch_counts(net):
    scores = 0.0
    for unit in find(net, neurons=False):
        if unit.part.causal == "yes":  # torch counts the masked half as well
            scores += 2 * 16 * unit.part.heads * unit.part.head_dim
    assert block_flops(net, 16) + scores == pytest.approx(counted(net, 16), rel=1e-6)


def test_units_cost_what_cutting_them_saves(net):
    for unit in find(net):
        small = compact(net, {unit.name: np.arange(1, unit.count)})
        saved = block_flops(net, 16) - block_flops(small, 16)
        assert unit_flops(unit, 16) == pytest.approx(saved, rel=1e-6)


def test_budget_is_met():
    net = made("llama")
    rng = np.random.default_rng(0)
    for heads in (True, False):
        units = find(net, heads=heads)
        for keep in (0.65, 0.8):
            for uniform in (True, False):
                kept = Budget(net, units, keep, 16).choose([rng.random(u.count) for u in units], uniform)
                small = compact(net, {u.name: k for u, k in zip(units, kept, strict=True)})
                share = block_flops(small, 16) / block_flops(net, 16)
                slack = max(unit_flops(u, 16) for u in units) * (len(units) if uniform else 1)
                assert keep - slack / block_flops(net, 16) < share <= keep


def test_all_is_all():
    units = find(made("bert"))
    kept = Budget(made("bert"), units, 1.0, 16).choose([np.zeros(u.count) for u in units])
    assert [len(k) for k in kept] == [u.count for u in units]


def test_refusals_say_what_can_be_reached():
    net = made("bert")
    neurons = find(net, heads=False)
    with pytest.raises(UserError, match="above 0, at most 1, not 0") as error:
        Budget(net, neurons, 0, 16)
    with pytest.raises(UserError, match=r"8 neurons left in every layer") as error:
        Budget(net, neurons, 0.1, 16)
    named = float(str(error.value).split("use keep=")[1].split()[0])
    Budget(net, neurons, named, 16)
    with pytest.raises(UserError, match="cannot be reached"):
        Budget(net, neurons, named - 0.002, 16)
    ragged = compact(net, {neurons[0].name: range(20)})
    units = find(ragged)
    with pytest.raises(UserError, match="between 20 and 48 neurons"):
        Budget(ragged, units, 0.8, 16).choose([np.zeros(u.count) for u in units], uniform=True)


def test_a_mixer_of_unknown_cost_is_named():
    net = made("bert")
    net.model.stack.layers[1] = Block(LayerNorm(32), None)
    with pytest.raises(UserError, match=r"layers\.1\.mixer is a LayerNorm"):
        block_flops(net, VOCAB)
