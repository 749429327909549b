"""Patterns of pairs that are worked off in pieces give what the whole matrix of logits gives."""

from __future__ import annotations

import pytest
import torch

from twofold.measure import costs
from twofold.parts import (
    BlockLocal,
    ColumnAttention,
    FixedAttention,
    Mask,
    Rope,
    StridedAttention,
    SummaryAttention,
)
from twofold.parts.mixers import sparse_attention
from twofold.parts.mixers.sparse_attention import RuledAttention

KINDS = [(StridedAttention, (3,)), (SummaryAttention, (5, 2)), (FixedAttention, (6, 2))]


def made(kind: type[RuledAttention], given: tuple[int, ...], causal: bool) -> RuledAttention:
    torch.manual_seed(0)
    return kind(16, 4, *given, kv_heads=2, position=Rope(), causal=causal).double()


def outcome(mixer: RuledAttention, x: torch.Tensor, mask: Mask | None) -> tuple[torch.Tensor, ...]:
    x = x.clone().requires_grad_()
    y = mixer(x, mask)
    return y, *torch.autograd.grad(y.square().sum(), [x, *mixer.parameters()])


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "two-way"])
@pytest.mark.parametrize(("kind", "given"), KINDS)
@pytest.mark.parametrize("time", [96, 101])
def test_in_pieces_as_whole(kind, given, causal, time, monkeypatch) -> None:
    mixer = made(kind, given, causal)
    x = torch.randn(2, time, 16, dtype=torch.double)
    monkeypatch.setattr(kind, "foldable", lambda *given: True)
    pieces = outcome(mixer, x, None)
    monkeypatch.setattr(kind, "folded", lambda *given: None)
    for own, dense in zip(pieces, outcome(mixer, x, None), strict=True):
        torch.testing.assert_close(own, dense)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "two-way"])
@pytest.mark.parametrize("kept", [1, 7_000])
def test_grid_a_few_rows_at_a_time(causal, kept, monkeypatch) -> None:
    mixer = made(StridedAttention, (3,), causal)
    x = torch.randn(2, 101, 16, dtype=torch.double)
    monkeypatch.setattr(StridedAttention, "foldable", lambda *given: True)
    monkeypatch.setattr(sparse_attention, "_KEPT", kept)
    with torch.inference_mode():
        pieces = mixer(x)
    monkeypatch.setattr(StridedAttention, "folded", lambda *given: None)
    torch.testing.assert_close(pieces, mixer(x))


@pytest.mark.parametrize(("kind", "given"), [(StridedAttention, (32,)), (FixedAttention, (64, 2))])
def test_products_of_a_long_text_are_few(kind, given) -> None:
    mixer, x = kind(16, 2, *given, position=Rope(), causal=True).eval(), torch.randn(1, 1_024, 16)
    whole = 4 * 1_024**2 * 16
    assert costs.flops(mixer, x) - 8 * 1_024 * 16**2 < whole / 4


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "two-way"])
@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *KINDS,
        (StridedAttention, (1,)),
        (StridedAttention, (9,)),
        (ColumnAttention, (3,)),
        (BlockLocal, (4,)),
    ],
)
@pytest.mark.parametrize("time", [1, 2, 9, 31])
def test_pairs_are_those_that_the_mask_lets_through(kind, given, causal, time) -> None:
    mixer = made(kind, given, causal)
    places = mixer.rule(None).places(1, time, torch.device("cpu"))
    assert mixer.pairs(time) == int(mixer.rule(None).dense(places, places).sum())


def test_padding_is_worked_off_whole() -> None:
    mixer = made(StridedAttention, (3,), True)
    x = torch.randn(2, 64, 16, dtype=torch.double)
    real = torch.ones(2, 64, dtype=torch.bool)
    real[1, :7] = False
    torch.testing.assert_close(mixer(x, Mask(pad=real))[0], mixer(x)[0])
    torch.testing.assert_close(mixer(x, Mask(pad=real))[1, 7:], mixer(x[1:, 7:])[0])
