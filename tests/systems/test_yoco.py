"""YOCO [212]: one cache, early exit, what is seen, against plain attention."""

from __future__ import annotations

import json

import pytest
import torch

from twofold.catalog import configure
from twofold.decoding import generate
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import (
    Attention,
    Block,
    LocalAttention,
    Mask,
    Pattern,
    RMSNorm,
    Rope,
    SharedAttention,
    SharedCache,
    build,
)
from twofold.parts.caches import KeyValueCache, WindowCache

IDS = torch.randint(50, (2, 14), generator=torch.Generator().manual_seed(0))


def system(**options):
    return configure("yoco", **{"dim": 32, "heads": 4, "layers": 4, "length": 24, "window": 4, **options})


def network(**options):
    torch.manual_seed(0)
    return system(**options).network(50).eval()


def test_one_cache_serves_half_of_the_layers() -> None:
    net = network(layers=6)
    kinds = [type(c) for c in net.new_cache(2, 4096).layers]
    assert kinds == [WindowCache] * 3 + [KeyValueCache]
    shared = net.new_cache(3, 4096).layers[-1]
    assert shared.bytes_at(1000) == 3 * 2 * 1000 * 32 * 4
    assert network(kv_heads=1).new_cache(3, 4096).layers[-1].bytes_at(1000) == 3 * 2 * 1000 * 8 * 4
    full = configure("backbone", dim=32, heads=4, layers=6).network(50)
    assert full.new_cache(1, 4096).bytes_at(4096) == 6 * net.new_cache(1, 4096).layers[-1].bytes_at(4096)
    assert context_costs(net, 512)["flops_per_token"] < context_costs(full, 512)["flops_per_token"]


@pytest.mark.parametrize(
    "options", [{}, {"kv_heads": 2}, {"self_mixer": "causal-conv"}, {"self_mixer": "retention"}, {"conv": 3}]
)
def test_steps_are_the_full_pass_and_nothing_looks_ahead(options) -> None:
    net = network(**options)
    whole = net(IDS, Mask.causal())
    cache, out = net.new_cache(2, 14), []
    for piece in IDS.split([6, 1, 1, 6], 1):
        out.append(net(piece, Mask.causal(), cache))
    torch.testing.assert_close(torch.cat(out, 1), whole, rtol=1e-5, atol=1e-5)
    changed = IDS.clone()
    changed[:, 9:] = 1
    assert torch.equal(net(changed, Mask.causal())[:, :9], whole[:, :9])
    order = torch.tensor([1, 0])
    cache.rewind(3)
    cache.reorder(order)
    torch.testing.assert_close(net(IDS[order, 11:], Mask.causal(), cache), whole[order, 11:], rtol=1e-5, atol=1e-5)


def test_early_exit_gives_the_same_next_token() -> None:
    net = network()
    real = torch.arange(14) >= torch.tensor([0, 5])[:, None]
    for mask in (Mask.causal(), Mask.causal() & Mask.padding(real)):
        whole = net(IDS, mask)[:, -1]
        calls = []
        block = net.stack.layers[-1].layers[0]
        hook = block.register_forward_hook(lambda _, given, __, calls=calls: calls.append(given[0].shape[1]))
        for cache in (None, net.new_cache(2, 16)):
            logits = net.apply_head(net.newest(IDS, mask, cache))
            torch.testing.assert_close(logits, whole, rtol=1e-5, atol=1e-5)
            assert torch.equal(logits.argmax(-1), whole.argmax(-1))
        hook.remove()
        assert calls == [1, 1]
        assert cache.length == 14
        assert cache.layers[-1].length == 14
    prompts = [IDS[0].tolist(), IDS[1, :5].tolist()]
    cached, plain = (generate(net, prompts, 6, cached=c) for c in (True, False))
    assert torch.equal(cached.ids, plain.ids)


def test_a_reader_is_attention_whose_keys_come_from_elsewhere() -> None:
    torch.manual_seed(0)
    reader = SharedAttention(16, 2, position=Rope(), causal=True)
    shared = SharedCache([Block(reader)], RMSNorm(16))
    plain = Attention(16, 2, position=Rope(), causal=True)
    plain.query, plain.out = reader.query, reader.out
    plain.key, plain.value = shared.key, shared.value
    x = torch.randn(2, 9, 16)
    normed = shared.norm(x)  # queries read x, keys and values its norm
    places = Mask.causal().places(2, 9, torch.device("cpu"))
    q = plain.split(plain.query(x), 2)
    _, k, v, _, _ = plain.project(normed, Mask.causal(), None)
    q, _ = plain.position.rotate(q, q, places.positions, places.positions)
    expected = x + plain.merge(plain.attend(q, k, v, Mask.causal(), places, places))
    torch.testing.assert_close(shared(x, Mask.causal()), expected, rtol=1e-5, atol=1e-6)


def test_it_is_plain_data() -> None:
    net = network()
    assert [type(layer.mixer) for layer in net.stack.layers[:2]] == [LocalAttention] * 2
    again = build(json.loads(json.dumps(net.spec()))).eval()
    again.assign(net.tensors())
    assert torch.equal(again(IDS, Mask.causal()), net(IDS, Mask.causal()))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="layers=2 or more"):
        system(layers=1).network(50)
    with pytest.raises(UserError, match="shared-attention"):
        Pattern.read([{"shared": [{"mixer": "attention"}]}], dim=32).network(50)
    with pytest.raises(UserError, match="made of blocks"):
        Pattern.read([{"shared": [{"loop": [{}]}]}], dim=32).network(50)
    with pytest.raises(UserError, match="inside a SharedCache"):
        SharedAttention(16, 4, kv_heads=2)(torch.zeros(1, 3, 16))
