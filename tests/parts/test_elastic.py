"""Elastic parts: prefixes that are networks by themselves; feed-forward parts of other depths."""

from __future__ import annotations

import json

import pytest
import torch

from twofold.errors import UserError
from twofold.measure.costs import active_parameters, cost, parameters
from twofold.parts import (
    FFN,
    ElasticFFN,
    OneLayer,
    OneOfSeveral,
    ThreeLayer,
    build,
    decoder,
    elastic,
    extract,
    feed_forward,
    set_channels,
    set_width,
    widths_of,
)

SIZES = (4, 8, 16)
X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
IDS = torch.arange(10).view(2, 5)


def nested(seed=0, gate=False):
    torch.manual_seed(seed)
    net = decoder(11, 8, 2, 2, hidden=16, bias=True)
    set_channels(net, lambda _, old: ElasticFFN(8, SIZES, gate=gate))
    return net


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gate", [True, False])
def test_prefixes_are_networks(gate: bool, bias: bool) -> None:
    part = ElasticFFN(8, SIZES, "silu", gate, bias)
    full = FFN(8, 16, "silu", gate, bias)
    full.load_state_dict(part.state_dict())
    assert torch.equal(part(X), full(X))
    for width, hidden in enumerate(SIZES):
        part.width = width
        alone = part.slice(width)
        assert torch.equal(part(X), alone(X))
        assert alone.hidden == hidden
        assert part.flops(3) == alone.flops(3)
        assert active_parameters(part) == parameters(alone)


@pytest.mark.parametrize("width", range(3))
def test_a_step_moves_only_the_prefix(width: int) -> None:
    part = ElasticFFN(8, SIZES, gate=True)
    part.width = width
    part(X).square().sum().backward()
    n = SIZES[width]
    for map_ in (part.up, part.gate):
        assert (map_.weight.grad[:n].abs().sum(1) > 0).all()
        assert torch.equal(map_.weight.grad[n:], torch.zeros(16 - n, 8))
        assert torch.equal(map_.bias.grad[n:], torch.zeros(16 - n))
    assert torch.equal(part.down.weight.grad[:, n:], torch.zeros(8, 16 - n))


def test_networks_are_extracted_at_mixed_widths() -> None:
    net = nested(gate=True)
    assert widths_of(net) == [3, 3]
    for widths in (0, 2, (0, 2), (2, 1)):
        set_width(net, widths)
        small = extract(net, widths)
        assert torch.equal(small(IDS), net(IDS))
        assert not list(elastic(small))
        assert parameters(small) == active_parameters(net)
        assert cost(small, 5).flops == cost(net, 5).flops
        again = build(json.loads(json.dumps(small.spec())))
        again.load_state_dict(small.state_dict())
        assert torch.equal(again(IDS), small(IDS))
    assert parameters(net) > parameters(extract(net, (0, 2)))
    assert parameters(extract(net, 2)) == parameters(net)


def test_several_networks_take_turns() -> None:
    torch.manual_seed(0)
    models = [decoder(11, 8, 1, 2, hidden=h) for h in SIZES]
    net = OneOfSeveral(models)
    for width, model in enumerate(models):
        set_width(net, width)
        assert torch.equal(net(IDS), model(IDS))
        assert torch.equal(extract(net, width)(IDS), model(IDS))
        net.zero_grad()
        net(IDS).sum().backward()
        assert [m.embedding.table.grad is not None for m in models].count(True) == 1
    assert parameters(net) == sum(parameters(m) for m in models)
    again = build(json.loads(json.dumps(net.spec())))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(IDS), net(IDS))


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"sizes \[8, 8\] must rise"):
        ElasticFFN(8, (8, 8))
    with pytest.raises(UserError, match="hidden is 0"):
        ElasticFFN(8, ())
    with pytest.raises(UserError, match="one width only"):
        set_width(FFN(8, 8), 0)
    with pytest.raises(UserError, match=r"widths \[3, 3\] do not fit 2 elastic parts"):
        set_width(nested(), 3)
    with pytest.raises(UserError, match=r"widths \[0\] do not fit"):
        set_width(nested(), (0,))
    with pytest.raises(UserError, match="no networks"):
        OneOfSeveral([])


@pytest.mark.parametrize(("depth", "weights"), [(0, 0), (1, 1), (2, 8), (3, 24)])
def test_depths_have_the_weights_of_the_formula(depth: int, weights: int) -> None:
    part = feed_forward(8, 32, depth, bias=False)
    if part is None:
        assert depth == 0
        return
    assert parameters(part) == weights * 64
    assert part.flops(7) == 2 * 7 * weights * 64
    assert part(X).shape == X.shape
    again = build(json.loads(json.dumps(part.spec())))
    again.load_state_dict(part.state_dict())
    assert torch.equal(again(X), part(X))


def test_depths_by_hand() -> None:
    act = torch.nn.functional.gelu
    one, two, three = (feed_forward(8, 12, depth) for depth in (1, 2, 3))
    assert isinstance(one, OneLayer)
    assert isinstance(three, ThreeLayer)
    assert type(two) is FFN
    torch.testing.assert_close(one(X), one.down(X))
    torch.testing.assert_close(three(X), three.down(act(three.middle(act(three.up(X))))))
    with pytest.raises(UserError, match="0 to 3 linear maps, not 4"):
        feed_forward(8, 12, 4)


def test_a_block_without_a_channel_has_no_norm_for_it() -> None:
    net = decoder(11, 8, 2, 2)
    set_channels(net, lambda layer, old: None if layer else OneLayer(8))
    first, second = net.stack.layers
    assert isinstance(first.channel, OneLayer)
    assert second.channel is None
    assert not list(second.channel_norm.parameters())
    x = torch.randn(1, 4, 8)
    torch.testing.assert_close(second(x), x + second.mixer(second.mixer_norm(x)))
    assert build(json.loads(json.dumps(net.spec()))).spec() == net.spec()
