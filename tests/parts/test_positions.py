"""Positions against the formulas of their papers."""

from __future__ import annotations

import math
import re

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import (
    Alibi,
    Attention,
    Learned,
    LinearStretch,
    Llama3Stretch,
    Mask,
    NoPosition,
    NtkStretch,
    Rope,
    Sinusoid,
    T5Bias,
    TokenEmbedding,
)
from twofold.parts.positions import Reciprocal, alibi_slopes, named, without_queries


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope_turns_pairs_by_the_formula(interleaved):
    d, base = 8, 500.0
    q, k = random(2, 3, 5, d), random(2, 1, 5, d, seed=1)
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 9, 30, 2, 1]])
    turned, _ = Rope(base, interleaved=interleaved).rotate(q, k, positions, positions)
    for b in range(2):
        for t in range(5):
            for i in range(d // 2):
                first, second = (2 * i, 2 * i + 1) if interleaved else (i, i + d // 2)
                angle = float(positions[b, t]) * base ** (-2 * i / d)
                pair = torch.complex(q[b, :, t, first], q[b, :, t, second]) * complex(math.cos(angle), math.sin(angle))
                assert torch.allclose(turned[b, :, t, first], pair.real, atol=1e-12)
                assert torch.allclose(turned[b, :, t, second], pair.imag, atol=1e-12)


def test_rope_leaves_the_rest_of_a_fraction_alone():
    q = random(1, 1, 4, 8)
    where = torch.arange(4)[None]
    turned, _ = Rope(fraction=0.5).rotate(q, q, where, where)
    assert torch.equal(turned[..., 4:], q[..., 4:])
    whole, _ = Rope().rotate(q[..., :4], q[..., :4], where, where)
    assert torch.equal(turned[..., :4], whole)


def test_stretches():
    q = random(1, 1, 6, 8)
    where = 3 * torch.arange(6)[None]
    linear, _ = Rope(stretch=LinearStretch(3.0)).rotate(q, q, where, where)
    plain, _ = Rope().rotate(q, q, where // 3, where // 3)
    assert torch.allclose(linear, plain, atol=1e-12)
    inverse = 10000.0 ** -(torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    bent = NtkStretch(4.0)(inverse, 10000.0)
    assert torch.allclose(bent, (10000.0 * 4.0 ** (8 / 6)) ** -(torch.arange(0, 8, 2, dtype=torch.float64) / 8))
    assert torch.allclose(bent[[0, -1]], inverse[[0, -1]] / torch.tensor([1.0, 4.0], dtype=torch.float64))


def test_rope_remembers_no_tables_that_training_cannot_use():
    rope, where = Rope(), torch.arange(3)[None]
    with torch.inference_mode():
        rope.rotate(random(1, 1, 3, 4), random(1, 1, 3, 4), where, where)
    q = random(1, 1, 3, 4).requires_grad_()
    turned, _ = rope.rotate(q, q, where, where)
    turned.sum().backward()
    assert q.grad is not None


def test_rope_remembers_its_tables_until_something_changes():
    rope, x, at = Rope(), torch.randn(1, 2, 5, 8), torch.arange(5)[None]
    first = rope.turn(x, at)
    tables = rope._last
    torch.testing.assert_close(rope.turn(x, at.clone()), first, rtol=0, atol=0)
    assert rope._last is tables
    rope.base = 100.0
    torch.testing.assert_close(rope.turn(x, at.clone()), Rope(100.0).turn(x, at))
    torch.testing.assert_close(rope.turn(x, at + 1), Rope(100.0).turn(x, at + 1))
    assert not torch.equal(rope.turn(x, at.clone()), first)


def test_alibi_slopes():
    assert alibi_slopes(8) == [2.0**-h for h in range(1, 9)]
    # 12 heads: those of 8, then the 1st, 3rd, 5th and 7th of 16 (the authors' code).
    assert alibi_slopes(12) == pytest.approx([2.0**-h for h in range(1, 9)] + [2 ** (-h / 2) for h in (1, 3, 5, 7)])
    bias = Alibi(2).bias(torch.tensor([[5]]), torch.tensor([[0, 5, 7]]))
    assert torch.equal(bias, -torch.tensor([1 / 16, 1 / 256])[None, :, None, None] * torch.tensor([5.0, 0, 2]))


def test_sinusoid_is_the_formula():
    x = Sinusoid().embed(torch.zeros(1, 50, 6, dtype=torch.float64), torch.arange(50)[None])
    for t in (0, 1, 49):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert x[0, t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert x[0, t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_t5_buckets():
    causal = T5Bias(1, buckets=32, max_distance=128)
    ahead_of = causal.bucket(-torch.arange(200))
    assert ahead_of[:16].tolist() == list(range(16))
    assert ahead_of[128:].unique().tolist() == [31]
    assert (ahead_of.diff() >= 0).all()
    assert causal.bucket(torch.tensor([1, 50])).tolist() == [0, 0]
    two_way = T5Bias(1, buckets=32, max_distance=128, two_way=True)
    assert two_way.bucket(torch.tensor([-3, 0, 3])).tolist() == [3, 0, 19]


@pytest.mark.parametrize(
    "position", [Rope(), Rope(interleaved=True, stretch=NtkStretch(2.0)), Alibi(2), T5Bias(2, 8, 20)]
)
def test_logits_depend_on_distance_alone(position):
    attention = Attention(16, 2, position=position).double()
    x = random(1, 6, 16)
    matrices = [attention.matrix(x, Mask.causal().at(torch.arange(6)[None] + start)) for start in (0, 1, 1000)]
    assert torch.allclose(matrices[0], matrices[1], atol=1e-9)
    assert torch.allclose(matrices[0], matrices[2], atol=1e-9)
    bent = attention.matrix(x, Mask.causal().at(torch.tensor([[0, 2, 3, 4, 5, 11]])))
    assert isinstance(position, T5Bias) or not torch.allclose(matrices[0], bent, atol=1e-3)


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.75, 0.1, 0.01, 1 / 3])
def test_the_next_width_that_can_be_turned_is_the_smallest(fraction) -> None:
    rope = Rope(fraction=fraction)
    fit = [width for width in range(1, 600) if int(width * fraction) >= 2 and int(width * fraction) % 2 == 0]
    for least in range(1, 250):
        assert rope.head_width(least) == next(width for width in fit if width >= least)


@pytest.mark.parametrize("position", [None, Sinusoid(), Rope(), Rope(fraction=0.5), Reciprocal(4, Rope(fraction=0.3))])
@pytest.mark.parametrize(("dim", "heads"), [(97, 4), (100, 4), (36, 4), (10, 4), (2, 4), (68, 4), (35, 4)])
def test_the_sizes_that_are_advised_can_be(position, dim, heads) -> None:
    try:
        Attention(dim, heads, position=position)
    except UserError as refused:
        text = str(refused)
        assert text.startswith(f"Attention: dim {dim} does not divide into {heads} heads")
        advised = [{key: int(value)} for key, value in re.findall(r"(\w+)=(\d+)", text)]
        assert advised
        for sizes in advised:
            if "heads" in sizes and isinstance(position, Reciprocal):
                position = Reciprocal(sizes["heads"], position.base)
            Attention(**{"dim": dim, "heads": heads, **sizes}, position=position)


def test_learned_refuses_what_it_has_not_learned():
    embedding = TokenEmbedding(10, 8, Learned(4, 8))
    ids = torch.zeros(1, 5, dtype=torch.long)
    embedding(ids[:, :4])
    with pytest.raises(UserError, match="knows 4 positions and 5 are asked"):
        embedding(ids)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Attention(12, 4, position=Rope()),
            "that position Rope can turn in pairs; use dim=16 or heads=3",
        ),
        (lambda: Attention(12, 4, head_dim=3, position=Rope()), "3 features of a head of 3 turn; use head_dim=4"),
        (lambda: Attention(16, 3), "dim 16 does not divide into 3 heads; use dim=18 or heads=2"),
        (lambda: Attention(18, 4, kv_heads=2, position=Rope()), "18 does not divide into 4 heads; use dim=24"),
        (lambda: Attention(36, 4, kv_heads=2, position=Rope()), "use dim=40 or heads=2"),
        (lambda: Attention(16, 4, kv_heads=3), "4 heads do not divide into 3 kv_heads"),
        (lambda: Attention(16, 4, position=Alibi(2)), "Alibi has 2 heads and the attention 4"),
        (lambda: Attention(16, 4, position=T5Bias(8)), "T5Bias has 8 heads"),
        (lambda: Attention(16, 4, position=Learned(5, 8)), "dim 8 and the states 16"),
        (lambda: Attention(15, 3, position=Sinusoid()), "even dim"),
        (lambda: TokenEmbedding(5, 16, Rope()), "give it to the attention"),
        (lambda: Alibi(4, [0.5]), "one slope for each head"),
        (lambda: Rope(base=0.5), "above 1"),
        (lambda: NtkStretch(0.0), "factor is 0.0"),
        (lambda: Llama3Stretch(8.0, 4.0, 4.0, 64), "must be above low"),
        (lambda: without_queries("SSD", Rope()), "needs queries and keys; mixer SSD has none"),
        (lambda: named("learned", 8, 2), "max_len"),
        (lambda: named("rop", 8, 2), "Did you mean 'rope'"),
        (lambda: Attention(16, 0), "heads is 0"),
    ],
)
def test_what_cannot_be_combined_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_every_hook_is_called():
    class Probe(NoPosition):
        after_softmax = True

        def embed(self, x, positions):
            return x + 1

        def rotate(self, q, k, positions_q, positions_k):
            return q * 2, k

        def bias(self, positions_q, positions_k):
            return (positions_k[:, None] - positions_q[:, :, None]).abs()[:, None] * 0.5

        def scale(self, positions_q):
            return 1.0 + positions_q

        def after(self, p, positions_q, positions_k):
            return p * 3

    plain, probed = Attention(8, 2).double(), Attention(8, 2, position=Probe()).double()
    probed.load_state_dict(plain.state_dict())
    x = random(1, 4, 8)
    q, k, v, _, _ = plain.project(x + 1, Mask.of(None), None)
    where = torch.arange(4, dtype=torch.float64)
    logits = (2 * q * (1 + where)[:, None]) @ k.transpose(-1, -2) * 4**-0.5
    p = (logits + 0.5 * (where[None] - where[:, None]).abs()).softmax(-1) * 3
    assert torch.allclose(probed(x), plain.merge(p @ v))
