"""Counts of parts add up to the whole and to what the parts say of themselves."""

from __future__ import annotations

import pytest
import torch

from twofold.measure import costs
from twofold.measure.counting import Cost, Roofline, count, roofline
from twofold.parts import Attention, decoder

IDS = torch.randint(0, 20, (2, 7))


def test_parts_add_up() -> None:
    net = decoder(20, 16, 3, 2).train()
    found = count(net, None, IDS)
    blocks = [f"stack.layers.{i}" for i in range(3)]
    assert found.total.flops == costs.flops(net, IDS)
    assert found.total.flops == sum(found.parts[b].flops for b in blocks) + found.parts["head"].flops
    for block in blocks:
        inside = [found.parts[f"{block}.{part}"] for part in ("mixer", "channel", "mixer_norm", "channel_norm")]
        assert found.parts[block].flops == sum(p.flops for p in inside)
        assert found.parts[block].bytes == sum(p.bytes for p in inside)
        assert found.parts[block].calls == 1
    assert net.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_it_agrees_with_what_parts_say() -> None:
    mixer = Attention(16, 4)
    assert count(mixer, None, torch.randn(1, 9, 16)).total.flops == mixer.flops(9)


def test_bytes_are_those_of_weights_that_are_read() -> None:
    net = decoder(20, 16, 3, 2)
    found = count(net, None, IDS)
    weights = costs.parameters(net) * 4
    assert found.parts["head"].bytes == 20 * 16 * 4  # the tied table, read whole
    assert found.parts["embedding"].bytes == IDS.numel() * 16 * 4  # and looked up
    assert found.total.bytes == weights + found.parts["embedding"].bytes


def test_a_part_that_is_skipped_costs_nothing() -> None:
    net = decoder(20, 16, 3, 2)
    found = count(net, lambda: [net.states(IDS, stop=1) for _ in range(4)])
    assert found.parts["stack.layers.0"].calls == 4
    assert "stack.layers.1" not in found.parts
    assert (found.parts["stack.layers.0"] / 4).calls == 1


def test_roofline() -> None:
    machine = Roofline(flops=100.0, bytes=10.0)
    assert machine.seconds(Cost(flops=100, bytes=1)) == 1
    assert machine.bound(Cost(flops=100, bytes=1)) == "compute"
    assert machine.seconds(Cost(flops=100, bytes=20)) == 2
    assert machine.bound(Cost(flops=100, bytes=20)) == "memory"
    here = roofline(128, 4, 2)
    assert here.flops > 1e8
    assert here.bytes > 1e7


@pytest.mark.parametrize("tokens", [1, 14])
def test_shares(tokens: int) -> None:
    assert Cost(28, 14, 14) / tokens == Cost(28 / tokens, 14 / tokens, 14 / tokens)
