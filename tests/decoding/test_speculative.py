"""Drafts on every kind of memory: the checker's text comes out, or the network is refused before it is run."""

from __future__ import annotations

import pytest
import torch

from tests.parts.test_patterns import given, own
from twofold.catalog import configure
from twofold.decoding import generate, speculate
from twofold.errors import UserError
from twofold.parts import Mask, Mixer, Pattern
from twofold.parts.caches import StackCache
from twofold.parts.staircase import StaircaseCache

PROMPT = [3, 5, 7, 11, 2, 9, 4, 4, 1, 0, 6, 13, 8, 12, 10, 17, 15, 14, 16, 5, 3, 2]  # longer than what a state repeats


def network(mixer, seed=0, length=48):
    torch.manual_seed(seed)
    pattern = Pattern.read([{"mixer": mixer, "times": 2}], dim=16, heads=2)
    return pattern.network(19, causal=True, max_len=length).eval()


@pytest.mark.parametrize("name", own(Mixer))
def test_drafts_change_no_text(name) -> None:
    try:
        checker = network(given(name))
    except UserError:
        return  # it looks ahead, or reads another stack
    expected = generate(checker, [PROMPT], 14).ids[0].tolist()
    drafts = network("attention", seed=1)
    for draft in (drafts, checker):
        found = speculate(lambda net=draft: net, lambda: checker, PROMPT, 14, ahead=3)
        assert found.ids == expected
    assert found.accepted == found.drafted  # it agrees with itself
    assert (
        speculate(lambda: checker, lambda: drafts, PROMPT[:1], 6).ids
        == generate(drafts, [PROMPT[:1]], 6).ids[0].tolist()
    )


def test_what_cannot_be_taken_back_is_refused_before_anything_is_computed() -> None:
    plain, ssd = network("attention"), network(given("ssd"))
    patches = configure("mblm").small().network(19).eval()
    ran = []
    for net in (plain, ssd, patches):
        net.register_forward_pre_hook(lambda *_: ran.append(1))
    with pytest.raises(UserError, match=r"check network's cache cannot take tokens back.*use one of attention"):
        speculate(lambda: plain, lambda: patches, PROMPT, 4)
    with pytest.raises(UserError, match="draft network's cache cannot take tokens back"):
        speculate(lambda: patches, lambda: plain, PROMPT, 4)
    with pytest.raises(UserError, match="use ahead=15 or less"):
        speculate(lambda: plain, lambda: ssd, PROMPT, 17, ahead=16)
    with pytest.raises(UserError, match="limit is -1; give a number of tokens to add, at least 0"):
        speculate(lambda: plain, lambda: plain, PROMPT, -1)
    short = configure("bert", dim=16, heads=2, layers=1, length=25).network(19).eval()
    short.register_forward_pre_hook(lambda *_: ran.append(1))
    for draft, check, role in ((short, plain, "draft"), (plain, short, "check")):
        with pytest.raises(UserError, match=f"need 26 positions, the {role} network has 25; shorten either"):
            speculate(lambda net=draft: net, lambda net=check: net, PROMPT, 4)
    hydra = Pattern.read([{"mixer": given("hydra")}], dim=16, heads=2).network(19).eval()
    for draft, check, role in ((hydra, plain, "draft"), (plain, hydra, "check")):
        with pytest.raises(UserError, match=rf"the {role} network cannot go token by token \(.*\); use one of"):
            speculate(lambda net=draft: net, lambda net=check: net, PROMPT, 4)
    with pytest.raises(UserError, match="at least 1"):
        speculate(lambda: plain, lambda: plain, PROMPT, 4, ahead=0)
    assert not ran
    assert speculate(lambda: plain, lambda: ssd, PROMPT, 4, ahead=15).ids


def test_no_more_drafts_are_asked_of_a_cache_than_fit_the_limit() -> None:
    plain, ssd = network("attention"), network(given("ssd"))
    patches = configure("mblm").small().network(19).eval()
    for checker, limit in ((ssd, 3), (ssd, 16), (patches, 1), (patches, 0), (plain, 0)):
        expected = generate(checker, [PROMPT], limit).ids[0].tolist()
        assert len(expected) == limit
        for draft in (plain, checker):
            assert speculate(lambda net=draft: net, lambda net=checker: net, PROMPT, limit, ahead=16).ids == expected


def test_a_refused_rewind_leaves_all_layers_where_they_were() -> None:
    net = Pattern.read([{"mixer": "attention"}, {"mixer": given("ssd")}], dim=16, heads=2).network(
        19, causal=True, max_len=64
    )
    cache = net.new_cache(1, 64)
    with torch.no_grad():
        net(torch.tensor([PROMPT]), Mask.causal(), cache)
    with pytest.raises(UserError, match="recurrent state"):
        cache.rewind(5)
    assert {layer.length for layer in cache.layers} == {len(PROMPT)} == {cache.length}


def test_a_stack_goes_back_as_far_as_its_layers() -> None:
    whole, window, state = (network(given(name)).new_cache(1, 48) for name in ("attention", "window", "ssd"))
    assert (whole.back, window.back, state.back) == (None, 16, 16)
    assert StackCache([*whole.layers, *state.layers, None], 48).back == 16
    assert StaircaseCache(1, 2, 48, 8).back == 0
