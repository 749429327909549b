"""Passes in pieces: equal to the plain formulas, with their gradients and second derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twofold.parts import CausalConv, RMSNorm, kernels


def plain_norm(x, weight):
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def piecewise_norm(x, weight):
    return kernels.rms_norm(x, weight, 1e-5)


def plain_conv(x, weight):
    taps = len(weight)
    padded = F.pad(x, (0, 0, taps - 1, 0))
    return F.conv1d(padded.mT, weight.flip(0).T[:, None], groups=x.shape[-1]).mT


def piecewise_conv(x, weight):
    return kernels.causal_conv(x, weight, None)


def plain_sum(x, weight):
    return x.cos() + x * weight


def piecewise_sum(x, weight):
    return kernels.add_scaled(x.cos(), x, weight)


PAIRS = {
    "norm": (plain_norm, piecewise_norm, (6,)),
    "conv": (plain_conv, piecewise_conv, (4, 6)),
    "sum": (plain_sum, piecewise_sum, (6,)),
}


@pytest.mark.parametrize("fits", [6, 24, 60, 1 << 16])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("time", [1, 3, 17])
def test_pieces_of_any_size_give_the_same_values_and_gradients(monkeypatch, fits, name, time) -> None:
    monkeypatch.setattr(kernels, "_FITS", fits)
    monkeypatch.setattr(kernels, "_WORTH", 0)
    plain, piecewise, shape = PAIRS[name]
    torch.manual_seed(0)
    x, weight = torch.randn(5, time, 6, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    given = torch.randn_like(x)
    found = []
    for work in (plain, piecewise):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = work(a, w)
        y.backward(given)
        found.append((y.detach(), a.grad, w.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_second_derivatives(monkeypatch, name) -> None:
    monkeypatch.setattr(kernels, "_WORTH", 0)
    _, piecewise, shape = PAIRS[name]
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 6, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(piecewise, (x.requires_grad_(), weight.requires_grad_()))


def test_inputs_that_lie_in_a_larger_tensor_are_read_where_they_are(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "_WORTH", 0)
    torch.manual_seed(0)
    large = torch.randn(2, 40, 20, dtype=torch.float64)
    part = large[:, 3:30, 5:11]
    for plain, piecewise, shape in PAIRS.values():
        weight = torch.randn(shape, dtype=torch.float64)
        torch.testing.assert_close(piecewise(part, weight), plain(part, weight))


def test_layers_take_them_where_they_are_worth_it(monkeypatch) -> None:
    torch.manual_seed(0)
    for layer in (RMSNorm(64), CausalConv(64)):
        torch.nn.init.normal_(layer.weight)
        x = torch.randn(2, 700, 64)
        assert kernels.worth(x, layer.weight)
        found = layer(x)
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "worth", lambda *_: False)
            torch.testing.assert_close(found, layer(x))
        assert not kernels.worth(x[:, :1], layer.weight)
        assert not kernels.worth(x.bfloat16(), layer.weight)
