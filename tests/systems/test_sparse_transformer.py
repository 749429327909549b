"""Sparse Transformer [220]: reach, patterns against dense masks, the start, recomputation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from twofold.catalog import configure
from twofold.data.made.sequences import Mirror
from twofold.errors import UserError
from twofold.parts import Attention, AxisPositions, Mask, StridedAttention, TokenEmbedding, build
from twofold.parts.rules import CAUSAL, Places
from twofold.surgery import block_flops

TIME = 23  # no multiple of the stride
IDS = torch.randint(40, (2, TIME), generator=torch.Generator().manual_seed(0))


def system(**options):
    return configure("sparse-transformer", **{"dim": 32, "layers": 2, "length": TIME, "stride": 5, **options})


def network(**options):
    torch.manual_seed(0)
    return system(**options).network(40)


def pairs(mixer) -> torch.Tensor:
    places = Mask.causal().places(1, TIME, torch.device("cpu"))
    return mixer.rule(Mask.causal()).dense(places, places)[0, 0]


@pytest.mark.parametrize("options", [{}, {"attention": "fixed"}, {"attention": "fixed", "summary": 3}])
def test_two_layers_connect_everything_before_and_nothing_after(options) -> None:
    one, two = (pairs(layer.mixer) for layer in network(**options).stack.layers)
    assert one.diagonal().all()
    assert two.diagonal().all()
    everything = torch.ones(TIME, TIME, dtype=torch.bool).tril()
    reached = (two.float() @ one.float()) > 0
    assert not torch.equal(one, everything)
    assert not torch.equal(two, everything)
    assert torch.equal(reached, everything)
    (merged,) = {str(pairs(layer.mixer).tolist()) for layer in network(combine="merge", **options).stack.layers}
    assert merged == str((one | two).tolist())


def test_patterns_are_those_of_the_paper() -> None:
    i, j = torch.arange(TIME)[:, None], torch.arange(TIME)[None]
    near, far = (pairs(layer.mixer) for layer in network().stack.layers)
    assert torch.equal(near, (j <= i) & (j >= i - 5))
    assert torch.equal(far, (j <= i) & ((i - j) % 5 == 0))
    near, far = (pairs(layer.mixer) for layer in network(attention="fixed", summary=2).stack.layers)
    assert torch.equal(near, (j <= i) & (j // 5 == i // 5))
    assert torch.equal(far, (j <= i) & ((j % 5 >= 3) | (i == j)))


@pytest.mark.parametrize("attention", ["strided", "fixed"])
def test_blocks_are_the_dense_mask(attention) -> None:
    x = torch.randn(2, TIME, 32, generator=torch.Generator().manual_seed(1))
    for layer in network(attention=attention).stack.layers:
        plain = Attention(32, layer.mixer.heads, causal=True)
        plain.load_state_dict(layer.mixer.state_dict())
        torch.testing.assert_close(layer.mixer(x), plain(x, Mask.allowed(pairs(layer.mixer))), rtol=1e-5, atol=1e-6)


def test_it_starts_at_equal_chances_with_the_papers_scales() -> None:
    net = network(dim=64, layers=4, heads=2)
    logits = net(IDS, Mask.causal())
    assert (logits == 0).all()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(40), rel=1e-6)
    mixer, channel = net.stack.layers[0].mixer, net.stack.layers[0].channel
    assert float(mixer.query.weight.std()) == pytest.approx(0.125 / 8, rel=0.1)
    assert float(mixer.out.weight.std()) == pytest.approx(0.125 / 8 / math.sqrt(8), rel=0.1)
    assert float(channel.down.weight.std()) == pytest.approx(0.125 / 16 / math.sqrt(8), rel=0.1)
    assert (channel.up.bias == 0).all()


def test_recomputing_gives_the_same_gradients() -> None:
    found = []
    for recompute in (False, True):
        net = network(recompute=recompute)
        torch.manual_seed(3)
        torch.nn.init.normal_(net.head.decoder.weight)
        net(IDS, Mask.causal()).square().mean().backward()
        found.append({name: p.grad for name, p in net.named_parameters()})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_axes_are_summed() -> None:
    axes = AxisPositions([3, 2, 4], 6)
    x = axes.embed(torch.zeros(1, 24, 6), torch.arange(24)[None])[0]
    for i, place in enumerate(np.ndindex(3, 2, 4)):
        expected = sum(weight[n] for weight, n in zip(axes.weights, place, strict=True))
        torch.testing.assert_close(x[i], expected)
    embedding = TokenEmbedding(9, 6, axes)
    assert build(embedding.spec()).spec() == embedding.spec()
    assert embedding.max_len == 24
    with pytest.raises(UserError, match="knows 24 positions and 25"):
        embedding(torch.zeros(1, 25, dtype=torch.long))
    with pytest.raises(UserError, match=r"\[16, 16\]"):
        AxisPositions([], 6)


def test_costs_and_pairs() -> None:
    places = Places(torch.arange(64), torch.arange(64)[None])
    merged = StridedAttention(32, 4, 8, causal=True)
    assert merged.pairs(64) == int((merged.seen.pairs(places, places) & CAUSAL.pairs(places, places)).sum())
    assert merged.pairs(1024) < 0.35 * 1024 * 1025 / 2
    assert block_flops(network(length=1024, stride=32), 1024) < block_flops(network(length=1024, stride=1023), 1024)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="use summary=4 or less"):
        system(attention="fixed", summary=5).network(40)
    with pytest.raises(UserError, match="even number"):
        Mirror(rows=5)


def test_mirrored_pictures() -> None:
    ids, labels = Mirror(4, 3, 6).sample(2, np.random.default_rng(0))
    for one, told in zip(ids.reshape(2, 4, 3), labels.reshape(2, 4, 3), strict=True):
        assert (told[:2] == -100).all()
        assert (one[2:] == 0).all()
        assert (told[2] == one[1]).all()
        assert (told[3] == one[0]).all()
