"""Simplified blocks [60]: the identity at the start, sums of rows, padding, weights that are saved."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import configure
from twofold.errors import UserError
from twofold.measure.costs import block_bytes
from twofold.parts import Mask, Pattern, Rope, ShapedAttention

REAL = torch.arange(7) < torch.tensor([7, 4])[:, None]
MASKS = [Mask.causal(), Mask.bidirectional(), Mask.causal() & Mask.padding(REAL), Mask.padding(REAL)]


@pytest.mark.parametrize("mask", MASKS)
def test_it_starts_as_the_identity(mask) -> None:
    mixer = ShapedAttention(16, 4, Rope())
    x = torch.randn(2, 7, 16)
    real = mask.real(x)
    torch.testing.assert_close(mixer.matrix(x, mask)[:, 0][real], torch.eye(7).expand(2, 7, 7)[real], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixer(x, mask)[real], x[real], atol=1e-6, rtol=0)


@pytest.mark.parametrize("mask", MASKS)
def test_rows_sum_to_alpha_plus_beta_minus_gamma(mask) -> None:
    mixer = ShapedAttention(16, 4, Rope())
    with torch.no_grad():
        for p in mixer.parameters():
            p.add_(torch.randn_like(p))
    x = torch.randn(2, 7, 16)
    matrix = mixer.matrix(x, mask)
    wanted = (mixer.alpha + mixer.beta - mixer.gamma)[None, :, None].expand(2, -1, 7)
    real = mask.real(x)[:, None].expand(-1, 4, -1)
    torch.testing.assert_close(matrix.sum(-1)[real], wanted[real], atol=1e-5, rtol=0)
    if mask.pad is not None:
        assert matrix[1, :, :4, 4:].abs().max() == 0


def test_a_stack_starts_without_mixing() -> None:
    torch.manual_seed(0)
    net = configure("simplified-transformer", dim=32, heads=4, layers=2, length=16).network(50)
    ids = torch.randint(50, (2, 9))
    out = net(ids)
    x = net.embedding(ids)
    for layer in net.stack.layers:
        normed = layer.mixer_norm(x)
        x = normed + 0.1 * layer.channel(normed)
    torch.testing.assert_close(out, net.apply_head(net.stack.final_norm(x)), atol=1e-5, rtol=1e-5)


def test_a_sixth_of_a_blocks_matrices_is_saved() -> None:
    method = configure("simplified-transformer", dim=64, heads=4, layers=1).network(50)
    usual = Pattern.read([{"channel": "gelu"}], dim=64, heads=4).network(50, causal=True)
    matrices = [sum(p.numel() for p in net.stack.parameters() if p.ndim > 1) for net in (method, usual)]
    assert matrices == [10 * 64**2, 12 * 64**2]
    assert block_bytes(method) < block_bytes(usual)
    vectors = {n for n, p in method.named_parameters() if p.ndim < 2}
    assert {"alpha", "beta", "gamma", "gain"} <= {name.rpartition(".")[2] for name in vectors}  # these do not decay


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UserError, match="does not divide into 3 heads"):
        ShapedAttention(16, 3)
