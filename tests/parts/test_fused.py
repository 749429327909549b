"""Layers that numba compiles into one pass: equal to the plain ones, for values, gradients and second derivatives."""

from __future__ import annotations

import pytest
import torch

from twofold.parts import S6, SSD, CausalConv, GatedRMSNorm, Mask, RMSNorm, SiluConv, fused

pytest.importorskip("numba")

FINE = torch.float64


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FINE)


def conv(dtype, mask=None):
    layer = SiluConv(7, 3).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(drawn(3, 7, seed=1))
        layer.bias.copy_(drawn(7, seed=2))
    return layer, lambda wide: layer(wide[..., 2:9], mask)


def norm(dtype, mask=None):
    layer = GatedRMSNorm(7, 1e-3).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(drawn(7, seed=1))
    return layer, lambda wide: layer(wide[..., 2:9], wide[..., 9:16])


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("made", [conv, norm])
@pytest.mark.parametrize("time", [1, 2, 19])
def test_one_pass_is_the_plain_layer(made, time, threads, monkeypatch) -> None:
    monkeypatch.setattr(fused, "_LONG", 0)
    found = []
    for dtype in (FINE, torch.float32):
        layer, work = made(dtype)
        wide = drawn(3, time, 16).to(dtype).requires_grad_()
        y = work(wide)
        assert ("Fused" in type(y.grad_fn).__name__) == (dtype == torch.float32)
        (y.sin() * drawn(3, time, 7, seed=3).to(dtype)).sum().backward()
        with torch.inference_mode():
            again = work(wide)
        found.append([y, again, wide.grad, *(p.grad for p in layer.parameters())])
    for exact, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("made", [conv, norm])
def test_one_pass_has_second_derivatives(made, monkeypatch) -> None:
    found = []
    for long in (1 << 60, 0):
        monkeypatch.setattr(fused, "_LONG", long)
        layer, work = made(torch.float32)
        leaves = [drawn(2, 9, 16).float().requires_grad_(), *layer.parameters()]
        first = torch.autograd.grad(work(leaves[0]).square().sum(), leaves, create_graph=True)
        found.append([*first, *torch.autograd.grad(sum(g.square().sum() for g in first), leaves)])
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


def test_another_default_dtype_changes_nothing(monkeypatch) -> None:
    monkeypatch.setattr(fused, "_LONG", 0)
    torch.manual_seed(0)
    found = []
    for mixer in (SSD(64, state=8, head_dim=16), S6(16), SiluConv(16, 3)):
        x = drawn(2, 70, mixer.dim).float().requires_grad_()
        for default in (torch.float32, FINE):
            torch.set_default_dtype(default)
            try:
                y = mixer(x)
                found.append([y, *torch.autograd.grad(y.sin().sum(), [x, *mixer.parameters()])])
            finally:
                torch.set_default_dtype(torch.float32)
        one, other = found.pop(), found.pop()
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_padding_is_nothing_and_documents_do_not_meet(monkeypatch) -> None:
    monkeypatch.setattr(fused, "_LONG", 0)
    pad = torch.ones(2, 9, dtype=torch.bool)
    pad[1, :4] = False
    segments = torch.tensor([[0] * 5 + [1] * 4, [0] * 2 + [1] * 7])
    wide = drawn(2, 9, 16)
    for mask in (Mask(pad=pad), Mask.segments(segments)):
        exact, compiled = (conv(dtype, mask)[1](wide.to(dtype)) for dtype in (FINE, torch.float32))
        torch.testing.assert_close(compiled.double(), exact, rtol=1e-5, atol=1e-5)


def test_they_are_what_their_names_say() -> None:
    layer, work = conv(FINE)
    plain = CausalConv(7, 3).double()
    plain.load_state_dict(layer.state_dict())
    wide = drawn(2, 9, 16)
    torch.testing.assert_close(work(wide), torch.nn.functional.silu(plain(wide[..., 2:9])))
    gated, work = norm(FINE)
    plain_norm = RMSNorm(7, 1e-3).double()
    plain_norm.load_state_dict(gated.state_dict())
    gate = wide[..., 9:16]
    torch.testing.assert_close(work(wide), plain_norm(wide[..., 2:9] * gate / (1 + torch.exp(-gate))))


def test_what_leads_from_one_input_to_the_other_is_counted_once(monkeypatch) -> None:
    found = []
    for long in (1 << 60, 0):
        monkeypatch.setattr(fused, "_LONG", long)
        layer, x = GatedRMSNorm(7), drawn(2, 9, 7).float().requires_grad_()
        found.append(torch.autograd.grad(layer(x, 2 * x).square().sum(), x, create_graph=True)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)


def test_shapes_that_do_not_fit_are_left_to_the_plain_layer(monkeypatch) -> None:
    monkeypatch.setattr(fused, "_LONG", 0)
    x = drawn(2, 9, 7).float()
    for layer, given in ((GatedRMSNorm(8), (x, x)), (SiluConv(8), (x,)), (SiluConv(6), (x,))):
        with pytest.raises((RuntimeError, TypeError)):
            layer(*given)
