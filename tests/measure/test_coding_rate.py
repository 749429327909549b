"""The coding rate, its gradient, and what tokens are like by layer."""

from __future__ import annotations

import pytest
import torch

from twofold.errors import UserError
from twofold.measure.coding_rate import Depths, coding_rate, depths, subspace_rate
from twofold.parts import Pattern, presets


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("tokens", [5, 40])
def test_gradient_of_the_subspace_rate(tokens) -> None:
    z, subspaces, error = drawn(tokens, 12).requires_grad_(), drawn(3, 4, 12, seed=1), 0.5
    subspace_rate(z, subspaces, error).backward()
    beta = 4 / (tokens * error**2)
    expected = torch.zeros(12, tokens, dtype=torch.float64)
    for u in subspaces.mT:
        seen = u.T @ z.detach().T
        inner = torch.eye(tokens, dtype=torch.float64) + beta * seen.T @ seen
        expected += beta * u @ seen @ torch.linalg.inv(inner)
    torch.testing.assert_close(z.grad.T, expected, rtol=1e-8, atol=1e-10)


def test_the_rate_is_the_same_by_either_gram_matrix() -> None:
    z = drawn(6, 9)
    whole = 0.5 * torch.logdet(torch.eye(9, dtype=torch.float64) + 9 / (6 * 0.25) * z.T @ z)
    torch.testing.assert_close(coding_rate(z), whole, rtol=1e-10, atol=0)
    assert coding_rate(torch.zeros(4, 3)) == 0


def test_depths_are_of_real_tokens_in_each_layer() -> None:
    torch.manual_seed(0)
    layer = {"mixer": "mssa", "channel": {"kind": "ista", "sparsity": 1.0}, "wiring": "one-skip", "times": 3}
    net = Pattern.read([layer], dim=16, heads=2, norm="layer", tied=False).network(12).eval()
    ids = torch.randint(0, 12, (2, 6))
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])

    def run(ids):
        net(ids, real)
        return real

    found = depths(net, lambda: run(ids))
    assert len(found.rate) == len(found.nonzero) == 3
    assert all(rate > 0 for rate in found.rate)
    assert all(0 <= share < 1 for share in found.nonzero)
    other = torch.where(real, ids, (ids + 1) % 12)
    again = depths(net, lambda: run(other))
    assert again.rate == pytest.approx(found.rate)
    assert again.nonzero == pytest.approx(found.nonzero)
    with pytest.raises(UserError, match="CRATE layers"):
        depths(presets.encoder(12, 16, 1, 2), lambda: None)


def test_a_trend_is_one_where_values_fall_in_every_layer() -> None:
    assert Depths.trend((3.0, 2.0, 1.0)) == pytest.approx(1)
    assert Depths.trend((1.0, 2.0, 3.0)) == pytest.approx(-1)
    assert Depths.trend((1.0, 1.0)) == 0
