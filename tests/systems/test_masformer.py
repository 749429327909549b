"""MASFormer [201]: blocks and full layers, conversion, costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import Attention, BlockLocal, LocalAttention, Mask, WindowCache, presets
from twofold.surgery.attention import change_attention
from twofold.systems.mixers.masformer import to_masformer
from twofold.tasks import task
from twofold.tasks.examples import small_rows

IDS = torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(0))


def dense(layers=4):
    torch.manual_seed(0)
    return presets.decoder(50, 32, layers, 4).eval()


def system(**options):
    return configure("masformer", dim=32, heads=4, layers=4, length=24, **options)


@pytest.mark.parametrize("options", [{"full_layers": 4, "width": 3}, {"full_layers": 0, "width": 24}])
def test_all_layers_full_or_one_block_is_the_dense_model(options) -> None:
    torch.manual_seed(0)
    net = system(**options).network(50).eval()
    net.assign(dense().tensors())
    torch.testing.assert_close(net(IDS), dense()(IDS), rtol=1e-5, atol=1e-5)


def reached(net) -> torch.Tensor:
    """Which inputs each output depends on, by the stack's masks."""
    seen = torch.eye(24, dtype=torch.bool)
    for layer in net.stack.layers:
        mixer = layer.mixer
        places = Mask.causal().places(1, 24, torch.device("cpu"))
        own = mixer.rule(Mask.causal()).dense(places, places)[0, 0]
        seen = (own.float() @ seen.float()) > 0
    return seen


@pytest.mark.parametrize("full", [0, 1, 2])
def test_one_full_layer_reaches_everything_and_blocks_alone_do_not(full) -> None:
    everything = torch.ones(24, 24, dtype=torch.bool).tril()
    assert torch.equal(reached(system(full_layers=full, width=6).network(50)), everything) is (full > 0)


def test_blocks_are_the_dense_mask() -> None:
    torch.manual_seed(1)
    mixer = BlockLocal(32, 4, 5, causal=True)
    x = torch.randn(2, 24, 32)
    block = torch.arange(24) // 5
    plain = Attention(32, 4, causal=True)
    plain.load_state_dict(mixer.state_dict())
    torch.testing.assert_close(mixer(x), plain(x, Mask.allowed(block[:, None] == block)), rtol=1e-5, atol=1e-6)
    real = torch.arange(27) >= 3  # left padding does not shift the blocks
    padded = torch.cat((torch.randn(2, 3, 32), x), 1)
    torch.testing.assert_close(mixer(padded, real.expand(2, -1))[:, 3:], mixer(x), rtol=1e-5, atol=1e-6)
    assert mixer.pairs(24) == 4 * 15 + 10


def test_local_layers_remember_a_window() -> None:
    net = system(full_layers=1, width=4).network(50)
    kinds = [type(cache) is WindowCache for cache in net.new_cache(1, 24).layers]
    assert kinds == [False, True, True, True]
    whole = net(IDS, Mask.causal())
    cache, out = net.new_cache(2, 24), []
    for piece in IDS.split([7, 1, 1, 15], 1):
        out.append(net(piece, Mask.causal(), cache))
    torch.testing.assert_close(torch.cat(out, 1), whole, rtol=1e-5, atol=1e-5)
    long = replace(system(full_layers=1, width=4), length=512)
    small, large = (context_costs(replace(long, full_layers=n).network(50), 512) for n in (1, 4))
    assert small["cache_bytes"] < 0.35 * large["cache_bytes"]
    assert small["flops_per_token"] < large["flops_per_token"]


def test_conversion_leaves_every_weight_as_it_is() -> None:
    net = dense()
    before = {name: (t, t.clone()) for name, t in net.state_dict(keep_vars=True).items()}
    to_masformer(net, {0, 2}, 6)
    assert [type(layer.mixer) for layer in net.stack.layers] == [Attention, BlockLocal, Attention, BlockLocal]
    after = net.state_dict(keep_vars=True)
    assert before.keys() == after.keys()
    assert all(after[n] is old and torch.equal(old, copy) for n, (old, copy) in before.items())
    assert not torch.allclose(net(IDS), dense()(IDS))
    windows = to_masformer(dense(), {0}, 6, "window")
    assert [type(layer.mixer) for layer in windows.stack.layers[1:]] == [LocalAttention] * 3


def test_attention_of_the_published_size_costs_a_third() -> None:
    full, local = Attention(64, 4, causal=True), BlockLocal(64, 4, 1024, causal=True)
    maps = full.flops(8192) - 4 * 64 * 8192**2 // 2
    share = (4 * (full.flops(8192) - maps) + 20 * (local.flops(8192) - maps)) / (24 * (full.flops(8192) - maps))
    assert share <= 0.30


@pytest.mark.parametrize(("given", "full"), [(2, {0, 1}), ("0-1,3", {0, 1, 3}), ("2", {2})])
def test_full_layers_are_counted_or_listed(given, full) -> None:
    assert system(full_layers=given).full(4) == full
    assert replace(system(full_layers=2), place="top").full(4) == {2, 3}
    assert replace(system(full_layers=2), place="spread").full(4) == {0, 2}


@pytest.mark.parametrize(("given", "message"), [(5, "at most 4"), ("1-4", "layers 0 to 3"), ("two", "0-3,8")])
def test_layers_that_are_not_there_are_refused(given, message) -> None:
    with pytest.raises(UserError, match=message):
        system(full_layers=given).network(50)


def test_apply_reports_what_it_saves_and_what_it_costs() -> None:
    rows = small_rows()
    model = configure("decoder", dim=32, layers=2, length=32, batch=4).fit(task("language").read(rows), Steps(2)).model
    changed = configure("masformer", full_layers="0", width=8, texts=2).apply(model, rows)
    report = changed.history[-1]["report"]
    assert report["cache_bytes_after"] < report["cache_bytes_before"]
    assert report["flops_per_token_after"] < report["flops_per_token_before"]
    assert report["bits_per_byte_after"] > 0
    assert type(model.net.stack.layers[1].mixer) is Attention
    with pytest.raises(UserError, match="layers 0 to 1"):
        change_attention(model.net, [2], "block-local", {"width": 4})
    with pytest.raises(UserError, match="mixer causal-conv"):
        change_attention(
            configure("backbone", backbone="causal-conv-1x32").network(50), [0], "block-local", {"width": 4}
        )
