"""Blocks, wirings, stacks and patterns against the same thing written by hand."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from twofold.errors import UserError
from twofold.parts import (
    FFN,
    Attention,
    Block,
    LayerNorm,
    Learned,
    Mask,
    Parallel,
    PostNorm,
    PreNorm,
    RMSNorm,
    Rope,
    Sandwich,
    Single,
    Stack,
    add_aux,
    collect_aux,
    pattern,
)
from twofold.parts.channels import ACTIVATIONS


@pytest.fixture
def pieces():
    torch.manual_seed(0)
    norms = [LayerNorm(8) for _ in range(4)]
    for norm in norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    return Attention(8, 2, bias=True), FFN(8, 12), *norms


X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
MASK = Mask.causal() & Mask.padding(torch.arange(5) >= torch.tensor([[0], [2]]))


def test_wirings(pieces):
    mixer, channel, n1, n2, n3, n4 = pieces

    def run(wiring):
        return Block(mixer, channel, n1, n2, wiring)(X, MASK)

    def mix(x):
        return mixer(x, MASK)

    h = X + mix(n1(X))
    assert torch.equal(run(PreNorm()), h + channel(n2(h)))
    assert torch.equal(run(None), run(PreNorm()))
    h = n1(X + mix(X))
    assert torch.equal(run(PostNorm()), n2(h + channel(h)))
    assert torch.equal(run(Parallel()), X + mix(n1(X)) + channel(n2(X)))
    h = X + n3(mix(n1(X)))
    assert torch.equal(run(Sandwich(n3, n4)), h + n4(channel(n2(h))))
    assert torch.equal(Block(mixer, None, n1, None, Single())(X, MASK), X + mix(n1(X)))
    with pytest.raises(UserError, match="no place for a channel mixer"):
        run(Single())


@pytest.mark.parametrize("wiring", [PreNorm, PostNorm, Parallel, Single])
def test_a_block_may_lack_its_mixer(wiring, pieces):
    _, channel, n1, n2, *_ = pieces
    x = X
    if wiring is PostNorm:
        h = n1(x)
        want = n2(h + channel(h))
    else:
        want = x if wiring is Single else x + channel(n2(x))
    block = Block(None, None if wiring is Single else channel, n1, n2, wiring())
    assert torch.equal(block(x), want)
    assert block.new_cache(2, 4) is None


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_feed_forward(name, gate):
    ffn = FFN(8, 12, name, gate)
    act = ACTIVATIONS[name]
    want = ffn.down(act(ffn.gate(X)) * ffn.up(X)) if gate else ffn.down(act(ffn.up(X)))
    assert torch.equal(ffn(X), want)
    assert ffn.flops(10) == 2 * 10 * 8 * 12 * (3 if gate else 2)


def test_exact_gelu():
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    assert torch.allclose(ACTIVATIONS["gelu"](x), x * (1 + torch.erf(x / 2**0.5)) / 2, atol=1e-12)


def test_norms_are_their_formulas():
    layer, rms = LayerNorm(8, 1e-3), RMSNorm(8, 1e-3)
    for norm in (layer, rms):
        torch.nn.init.normal_(norm.weight)
    centred = X - X.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-3).sqrt()
    assert torch.allclose(layer(X), scaled * layer.weight, atol=1e-6)
    assert torch.allclose(rms(X), X / (X.square().mean(-1, keepdim=True) + 1e-3).sqrt() * rms.weight, atol=1e-6)


def test_parts_of_a_stack():
    torch.manual_seed(0)
    stack = pattern(8, [{"mixer": Attention(8, 2), "channel": FFN(8, 12), "times": 3}])
    whole = stack(X, MASK)
    for n in range(4):
        assert torch.equal(stack(stack(X, MASK, stop=n), MASK, start=n), whole)
    assert torch.equal(stack(X, MASK, stop=0), X)
    assert torch.equal(stack.final_norm(stack(X, MASK, stop=3)), whole)
    for start, stop in ((0, 4), (2, 1), (-1, 2)):
        with pytest.raises(UserError, match="has no layers"):
            stack(X, MASK, start=start, stop=stop)


def test_patterns():
    stack = pattern(
        8,
        [
            {"mixer": Attention(8, 2, causal=True), "channel": FFN(8, 12), "position": Rope(), "times": 2},
            {"mixer": Attention(8, 4, causal=True), "position": Learned(7, 8)},
            {"channel": FFN(8, 3)},
        ],
        norm="layer",
        wiring=PostNorm(),
        eps=1e-3,
    )
    first, second, third, last = stack.layers
    assert first is not second
    assert first.spec() == second.spec()
    assert not torch.equal(first.channel.up.weight, second.channel.up.weight)
    assert isinstance(second.mixer.position, Rope)
    assert isinstance(third.mixer.position, Learned)
    assert (third.channel, last.mixer, stack.final_norm) == (None, None, None)
    assert last.channel_norm.eps == 1e-3
    assert stack.causal
    assert not pattern(8, [{"mixer": Attention(8, 2)}]).causal
    for bad, message in (
        ([{"mixr": None}], "unknown key of a layer pattern 'mixr'"),
        ([{"position": Rope()}], "needs a mixer to carry it"),
        ([{"mixer": FFN(8, 8), "position": Rope()}], "needs a mixer to carry it"),
    ):
        with pytest.raises(UserError, match=message):
            pattern(8, bad)
    with pytest.raises(UserError, match="unknown norm"):
        pattern(8, [], norm="batch")


def test_one_block_in_several_places():
    """A looped stack: shared weights, a cache for each place."""
    torch.manual_seed(0)
    block = Block(Attention(8, 2, position=Rope(), causal=True), FFN(8, 12), LayerNorm(8), LayerNorm(8))
    stack = Stack([block, block, block])
    with torch.no_grad():
        whole = stack(X)
        cache = stack.new_cache(2, 5)
        steps = torch.cat([stack(X[:, i : i + 1], None, cache) for i in range(5)], 1)
    assert len({id(c) for c in cache.layers}) == 3
    assert torch.allclose(steps, whole, atol=1e-6)


def test_auxiliary_losses_are_gathered():
    weight = torch.ones(1, requires_grad=True)

    def layer(x):
        add_aux("balance", (x * weight).sum())
        return x * weight

    x = torch.full((2,), 3.0)
    add_aux("balance", x.sum())  # nobody listens
    with collect_aux() as aux:
        y = checkpoint(layer, layer(x), use_reentrant=False)
        with collect_aux() as inner:
            layer(x)
        (y.sum() + aux["balance"]).backward()  # runs the second layer again
    assert aux["balance"].item() == 12.0
    assert inner["balance"].item() == 6.0
    assert weight.grad.item() == 6 * 2 + 6 + 6 * 2  # d/dw of 6w² + 6w + 6w² at w = 1
    with collect_aux() as empty:
        pass
    assert empty == {}
