"""ENTP [62]: prefixes one by one, nothing ahead, the decoder as a limit, no cache."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import configure
from twofold.decoding import generate
from twofold.errors import UserError
from twofold.objectives import causal
from twofold.parts import EveryPrefix, Mask, Pattern
from twofold.tasks.solve.data import SolveBatch

IDS = torch.randint(20, (3, 9), generator=torch.Generator().manual_seed(0))


def network() -> EveryPrefix:
    torch.manual_seed(0)
    return configure("entp", dim=32, heads=4, layers=2, length=24).network(20).eval()


def test_prefixes_together_are_prefixes_one_by_one() -> None:
    net = network()
    whole = net(IDS, Mask.causal())
    for n in range(1, 10):
        alone = net(IDS[:, :n])[:, -1]  # the encoder itself
        torch.testing.assert_close(whole[:, n - 1], alone, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(net(IDS)[:, 0], whole[:, 0])


def test_nothing_behind_a_token_counts() -> None:
    net = network()
    changed = IDS.clone()
    changed[:, 5:] = 1
    torch.testing.assert_close(net(changed, Mask.causal())[:, :5], net(IDS, Mask.causal())[:, :5], rtol=1e-6, atol=1e-6)


def test_with_a_causal_stack_it_is_the_decoder() -> None:
    torch.manual_seed(0)
    decoder = Pattern.read([{"times": 2}], dim=32, heads=4).network(20, causal=True).eval()
    net = EveryPrefix(decoder.embedding, decoder.stack, decoder.head)
    torch.testing.assert_close(net(IDS, Mask.causal()), decoder(IDS, Mask.causal()), rtol=1e-5, atol=1e-5)


def test_padding_and_packed_problems_are_left_out() -> None:
    net = network()
    real = torch.arange(9) >= torch.tensor([0, 4, 2])[:, None]
    padded = net(IDS, Mask.causal() & Mask.padding(real))
    torch.testing.assert_close(padded[1, 4:], net(IDS[1:2, 4:], Mask.causal())[0], rtol=1e-5, atol=1e-5)
    segments = (torch.arange(9) >= 5).long().expand(3, -1)
    packed = net(IDS, Mask.causal() & Mask.segments(segments))
    torch.testing.assert_close(packed[:, 5:], net(IDS[:, 5:], Mask.causal()), rtol=1e-5, atol=1e-5)
    counted = torch.rand(3, 9, generator=torch.Generator().manual_seed(1)) < 0.5
    batch = SolveBatch(IDS, segments, counted)
    own = configure("entp").loss(net, batch).value
    torch.testing.assert_close(own, causal(packed, IDS, counted).value, rtol=1e-5, atol=1e-6)


def test_it_generates_without_a_cache() -> None:
    net = network()
    prompts = [IDS[0].tolist(), IDS[1, :4].tolist()]
    made = generate(net, prompts, 3)
    text = list(prompts[1])
    for token in made.ids[1].tolist():
        assert token == int(net(torch.tensor([text]))[0, -1].argmax())
        text.append(token)
    with pytest.raises(UserError, match="recomputes each prefix; there is no cache"):
        net.new_cache(1, 8)


def test_unknown_mixers_are_refused() -> None:
    with pytest.raises(UserError, match="Did you mean"):
        configure("entp", mixer="atention").network(20)
