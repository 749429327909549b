"""Masks: what they say, by brute force, and the form in which they reach the kernel."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.parts import Alibi, Attention, Mask

REAL = torch.tensor([[True, True, True, True, True, False], [False, False, True, True, True, True]])
POSITION = [[0, 1, 2, 3, 4, 4], [0, 0, 0, 1, 2, 3]]
SPANS = torch.tensor([[-1, 0, 0, 1, 1, -1], [0, 0, -1, -1, 2, 2]])
RANK = torch.tensor([[3, 0, 5, 1, 4, 2], [0, 1, 2, 3, 4, 5]])
SEGMENTS = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]])
ANY = torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) > 0.5

RULES = {
    "bidirectional": (Mask.bidirectional(), lambda b, i, j: True),
    "causal": (Mask.causal(), lambda b, i, j: j <= i),
    "window": (Mask.window(2), lambda b, i, j: abs(POSITION[b][i] - POSITION[b][j]) < 2),
    "window and first": (
        Mask.window(2, first=1),
        lambda b, i, j: abs(POSITION[b][i] - POSITION[b][j]) < 2 or POSITION[b][j] < 1,
    ),
    "prefix": (Mask.prefix(3), lambda b, i, j: j <= i or POSITION[b][j] < 3),
    "prefixes": (Mask.prefix(torch.tensor([1, 2])), lambda b, i, j: j <= i or POSITION[b][j] < b + 1),
    "spans": (Mask.spans(SPANS), lambda b, i, j: j <= i or (SPANS[b, i] == SPANS[b, j] and SPANS[b, i] >= 0)),
    "any order": (Mask.any_order(RANK), lambda b, i, j: RANK[b, j] <= RANK[b, i]),
    "allowed": (Mask.allowed(ANY), lambda b, i, j: ANY[i, j]),
}


def dense(mask, time=6):
    places = mask.places(2, time, torch.device("cpu"))
    return mask.dense(places, places).expand(2, 1, time, time)[:, 0]


@pytest.mark.parametrize("name", RULES)
def test_rules_say_what_they_mean(name):
    mask, rule = RULES[name]
    seen = dense(mask & Mask.padding(REAL))
    for b, i, j in itertools.product(range(2), range(6), range(6)):
        assert bool(seen[b, i, j]) == bool(rule(b, i, j) and REAL[b, j]), (b, i, j)


def test_conditions_compose_in_any_order():
    for (one, first), (two, second) in itertools.combinations(RULES.values(), 2):
        seen = dense(one & two & Mask.padding(REAL))
        assert torch.equal(seen, dense(Mask.padding(REAL) & two & one))
        want = [
            [[bool(first(b, i, j) and second(b, i, j) and REAL[b, j]) for j in range(6)] for i in range(6)]
            for b in range(2)
        ]
        assert torch.equal(seen, torch.tensor(want))


def test_segments_keep_apart_and_count_anew():
    mask = Mask.segments(SEGMENTS)
    assert torch.equal(dense(mask), SEGMENTS[:, :, None] == SEGMENTS[:, None, :])
    assert mask.places(2, 6, torch.device("cpu")).positions.tolist() == [[0, 1, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1]]
    padded = mask & Mask.padding(REAL)
    assert padded.places(2, 6, torch.device("cpu")).positions.tolist() == [[0, 1, 0, 1, 2, 2], [0, 0, 0, 1, 0, 1]]


def test_positions_count_real_tokens():
    assert Mask.padding(REAL).places(2, 6, torch.device("cpu")).positions.tolist() == POSITION
    given = torch.arange(6)[None] * 10
    assert torch.equal(Mask.causal().at(given).places(2, 6, torch.device("cpu")).positions, given)


@pytest.fixture
def calls(monkeypatch):
    seen = []
    kernel = F.scaled_dot_product_attention

    def record(q, k, v, attn_mask=None, is_causal=False, **rest):
        seen.append((is_causal, None if attn_mask is None else (attn_mask.dtype, tuple(attn_mask.shape))))
        return kernel(q, k, v, attn_mask=attn_mask, is_causal=is_causal, **rest)

    monkeypatch.setattr(F, "scaled_dot_product_attention", record)
    return seen


def test_the_kernel_gets_the_cheapest_form(calls):
    attention = Attention(8, 2)
    x = torch.randn(2, 6, 8)
    right = torch.arange(6) < torch.tensor([[6], [3]])
    attention(x)
    attention(x, torch.ones(2, 6, dtype=torch.bool))
    attention(x, Mask.causal())
    attention(x, Mask.causal() & Mask.padding(right))
    attention(x, right)
    attention(x, Mask.causal() & Mask.padding(right.flip(1)))
    attention(x, Mask.window(2))
    Attention(8, 2, position=Alibi(2), causal=True)(x)
    assert calls == [
        (False, None),
        (False, None),
        (True, None),
        (True, None),
        (False, (torch.bool, (2, 1, 1, 6))),
        (False, (torch.bool, (2, 1, 6, 6))),
        (False, (torch.bool, (1, 1, 6, 6))),
        (False, (torch.float32, (1, 2, 6, 6))),
    ]


def test_steps_with_a_cache_use_no_mask(calls):
    attention = Attention(8, 4, kv_heads=2, causal=True)
    cache = attention.new_cache(2, 8)
    attention(torch.randn(2, 5, 8), cache=cache)
    attention(torch.randn(2, 1, 8), cache=cache)
    attention(torch.randn(2, 2, 8), cache=cache)
    assert calls == [(True, None), (False, None), (False, (torch.bool, (1, 1, 2, 8)))]


def test_layers_of_one_pass_share_what_they_derive():
    mask = (Mask.causal() & Mask.padding(REAL)).for_pass()
    places = mask.places(2, 6, torch.device("cpu"))
    assert mask.places(2, 6, torch.device("cpu")) is places
    assert mask.dense(places, places) is mask.dense(places, places)
    assert Mask.causal().for_pass() is not Mask.causal()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mask.of(torch.ones(2, 6)), "bool"),
        (lambda: Mask.of(torch.ones(6, dtype=torch.bool)), r"\[batch, time\]"),
        (lambda: Mask.allowed(torch.ones(6, 6)), "bool"),
        (lambda: Mask.window(0), "at least 1"),
        (lambda: Mask.segments(SEGMENTS) & Mask.segments(SEGMENTS.clone()), "both masks bring segments"),
        (lambda: Attention(8, 2)(torch.randn(2, 5, 8), REAL), r"padding is \[2, 6\] and the input \[2, 5\]"),
        (lambda: Attention(8, 2)(torch.randn(3, 6, 8), REAL), r"padding is \[2, 6\] and the input \[3, 6\]"),
        (lambda: Attention(8, 2, causal=False)(torch.randn(2, 6, 8), Mask.causal()), "causal=None"),
    ],
)
def test_bad_masks_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_rows_that_see_nothing_are_zero():
    mask = Mask.allowed(torch.zeros(6, 6, dtype=torch.bool))
    attention, x = Attention(8, 2), torch.randn(2, 6, 8)
    assert torch.equal(attention(x, mask), torch.zeros(2, 6, 8))
    assert torch.equal(attention.matrix(x, mask), torch.zeros(2, 2, 6, 6))
