"""Attention in blocks: windows and packed documents give what the dense mask gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from twofold.errors import UserError
from twofold.parts import Attention, LocalAttention, Mask, Rope, modernbert, pack_texts, unpack_texts, unpadded
from twofold.parts import blocked as lowering
from twofold.parts.blocked import Band, Documents, plan

TIME, DIM = 150, 16


def dense(monkeypatch: pytest.MonkeyPatch, run: Any) -> torch.Tensor:
    """The same with no blocks at all."""
    with monkeypatch.context() as patch:
        patch.setattr("twofold.parts.mixers.attention.plan", lambda *_: None)
        result: torch.Tensor = run()
        return result


def padding(name: str) -> torch.Tensor | None:
    real = torch.ones(3, TIME, dtype=torch.bool)
    if name == "right":
        real[0, 100:], real[2, 7:] = False, False
    elif name == "left":
        real[1, :60] = False
    return None if name == "none" else real


SEGMENTS = torch.tensor([[5] * 40 + [6] * 110, [1] * 149 + [2], [3] * 70 + [4] * 80])


@pytest.mark.parametrize("pad", ["none", "right", "left"])
@pytest.mark.parametrize("segments", [None, "one", "each"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [2, 9])
def test_a_band_is_the_dense_window(
    monkeypatch: pytest.MonkeyPatch, pad: str, segments: str | None, causal: bool, window: int
) -> None:
    torch.manual_seed(0)
    mixer = LocalAttention(DIM, 4, window, kv_heads=2, position=Rope())
    x = torch.randn(3, TIME, DIM)
    real = padding(pad)
    mask = Mask.of(real) & (Mask.causal() if causal else Mask.bidirectional())
    if segments is not None:
        mask = mask & Mask.segments(SEGMENTS[:1] if segments == "one" else SEGMENTS)
    places = mask.places(3, TIME, x.device)
    assert isinstance(plan(mask.within(window), places, places, x.dtype), Band)

    def run(x: torch.Tensor) -> torch.Tensor:
        out = mixer(x, mask)
        return out if real is None else out[real]

    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours = run(first)
    expected = dense(monkeypatch, lambda: run(second))
    assert torch.isfinite(mixer(x, mask)).all()
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    ours.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-6)


def test_holes_and_given_positions_fall_back_to_the_dense_mask() -> None:
    real = torch.ones(1, TIME, dtype=torch.bool)
    real[0, 50] = False
    for mask in (Mask.of(real), Mask.bidirectional().at(torch.arange(TIME)[None] * 2)):
        mask = mask & Mask.window(3)
        places = mask.places(1, TIME, real.device)
        assert plan(mask, places, places, torch.float32) is None
    everything = Mask.window(3) & Mask.allowed(torch.ones(TIME, TIME, dtype=torch.bool))
    places = everything.places(1, TIME, real.device)
    assert plan(everything, places, places, torch.float32) is None


def test_a_band_never_holds_all_pairs() -> None:
    mask = Mask.window(65)
    places = mask.places(1, 4096, torch.device("cpu"))
    band = plan(mask, places, places, torch.float32)
    assert isinstance(band, Band)
    assert band.bias.numel() == 4096 * (32 + 2 * 64) < 4096 * 4096 / 25


@pytest.mark.parametrize("causal", [False, True])
def test_documents_are_the_dense_segments(monkeypatch: pytest.MonkeyPatch, causal: bool) -> None:
    monkeypatch.setattr(lowering, "_CALL", 1)
    torch.manual_seed(0)
    mixer = Attention(DIM, 4, kv_heads=2, position=Rope())
    x = torch.randn(3, TIME, DIM)
    mask = Mask.segments(SEGMENTS) & (Mask.causal() if causal else Mask.bidirectional())
    places = mask.places(3, TIME, x.device)
    assert isinstance(plan(mask, places, places, x.dtype), Documents)
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, expected = mixer(first, mask), dense(monkeypatch, lambda: mixer(second, mask))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    ours.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-6)


def test_packed_texts_are_padded_texts() -> None:
    torch.manual_seed(0)
    net = modernbert(64, 32, 4, 4, hidden=24, window=8).eval()
    lengths = [1, 90, 3, 40, 40, 17]
    texts = [torch.randint(0, 64, (n,)) for n in lengths]
    packed = pack_texts(texts)
    assert packed.cu_lengths.tolist() == [0, 1, 91, 94, 134, 174, 191]
    assert packed.positions.tolist() == [place for n in lengths for place in range(n)]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    real = torch.arange(90) < torch.tensor(lengths)[:, None]
    with torch.inference_mode():
        padded = net(ids, real)
        rows = unpack_texts(net(packed.ids[None], packed.mask), packed)
        for number, text in enumerate(texts):
            assert rows[number].shape == (len(text), 32)
            torch.testing.assert_close(rows[number], padded[number, : len(text)], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(rows[number], net(text[None])[0], rtol=1e-5, atol=1e-5)
        flat = unpadded(net, ids, real)
        torch.testing.assert_close(flat[real], padded[real], rtol=1e-5, atol=1e-5)
        assert not flat[~real].any()
        left = torch.cat((ids[:1, 1:], ids[:1, :1]), 1)
        alone = torch.zeros(1, 90, dtype=torch.bool)
        alone[0, -1] = True
        torch.testing.assert_close(unpadded(net, left, alone)[0, -1], rows[0][0], rtol=1e-5, atol=1e-5)


def test_bad_packs_are_refused() -> None:
    with pytest.raises(UserError, match="text 2 has no token"):
        pack_texts([[1], []])
    with pytest.raises(UserError, match="no text to pack"):
        pack_texts([])
    net = modernbert(8, 16, 1, 4, hidden=8)
    with pytest.raises(UserError, match="row 2 is all padding"):
        unpadded(net, torch.zeros(2, 2, dtype=torch.long), torch.tensor([[True, False], [False, False]]))
