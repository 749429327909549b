"""SWAN-GPT [106]: the scale, windows in the cache, conversion, far places."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import LocalAttention, LogScale, Mask, NoPosition, WindowCache, presets
from twofold.systems.mixers.swan_gpt import set_scale, to_swan
from twofold.tasks import task
from twofold.tasks.examples import small_rows

IDS = torch.randint(50, (2, 24), generator=torch.Generator().manual_seed(0))


def network(**options):
    torch.manual_seed(0)
    settings = {"dim": 32, "heads": 4, "layers": 4, "length": 12, "window": 4, **options}
    return configure("swan-gpt", **settings).network(50).eval()


def test_the_scale_grows_beyond_the_trained_length_only() -> None:
    s = LogScale(8, 0.5).scale(torch.arange(32)[None])[0]
    assert (s[:8] == 1).all()
    assert math.isclose(float(s[31]), 1 + 0.5 * math.log(4), rel_tol=1e-6)
    plain, scaled = network(), network()
    set_scale(scaled, 0.5)
    a, b = plain(IDS), scaled(IDS)
    assert torch.equal(a[:, :12], b[:, :12])
    assert not torch.allclose(a[:, 12:], b[:, 12:])


def test_a_global_layer_knows_no_positions() -> None:
    mixer = network().stack.layers[0].mixer
    assert isinstance(mixer.position, LogScale)
    x = torch.randn(1, 6, 32)
    moved = Mask.causal().at(torch.arange(6)[None] + 5)
    assert torch.equal(mixer(x, Mask.causal()), mixer(x, moved))


def test_steps_with_windows_are_the_full_pass() -> None:
    net = network()
    set_scale(net, 0.3)
    whole = net(IDS, Mask.causal())
    cache, out = net.new_cache(2, 24), []
    for piece in IDS.split([9, *[1] * 15], 1):
        out.append(net(piece, Mask.causal(), cache))
    torch.testing.assert_close(torch.cat(out, 1), whole, rtol=1e-5, atol=1e-5)
    assert [type(c) is WindowCache for c in cache.layers] == [False, True, True, True]
    full = presets.decoder(50, 32, 4, 4)
    assert (
        context_costs(network(length=128, window=32), 1024)["cache_bytes"]
        <= 0.45 * (context_costs(full, 1024)["cache_bytes"])
    )


def test_conversion_keeps_weights_and_takes_positions() -> None:
    net = presets.decoder(50, 32, 4, 4, 2).eval()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    to_swan(net, 2, 4, 12)
    after = net.state_dict()
    assert all(torch.equal(after[n], t) for n, t in before.items())
    mixers = [layer.mixer for layer in net.stack.layers]
    assert [isinstance(m, LocalAttention) for m in mixers] == [False, True, False, True]
    assert isinstance(mixers[0].position, LogScale)
    assert mixers[1].kv_heads == 2
    everywhere = to_swan(presets.decoder(50, 32, 2, 4), 1, 4, 12)
    assert all(not isinstance(layer.mixer.position, NoPosition) for layer in everywhere.stack.layers)


def test_far_places_are_read_in_one_piece_and_the_scale_is_fitted() -> None:
    long = small_rows()
    texts = [" ".join(long.columns["text"][i : i + 4]) for i in range(len(long))]
    rows = Rows("long", {"text": texts}, "x", "made", splits=long.splits)
    data = task("language").read(rows)
    system = replace(configure("swan-gpt").small(), length=32)
    model = system.fit(data, Steps(2)).model
    assert model.history[-1]["report"]["scale"] in [round(0.05 * i, 2) for i in range(11)]
    figures = task("language").evaluate(model, data, "test", far=(64, 128)).figures
    assert 0 < figures["bits_per_byte_far"] < 16
    one = data.part("test")[:1]
    alone = model.far(one, 0, len(one[0].encode()))
    model.spec["length"] = 1024
    assert math.isclose(alone, model.score(one).bits_per_byte, rel_tol=1e-5)
    with pytest.raises(UserError, match="no text is longer"):
        model.far(one, 10_000, 10_001)
    changed = configure("swan-gpt", every=2, window=8, texts=2).apply(model, rows)
    assert changed.history[-1]["report"]["bits_per_byte_after"] > 0
