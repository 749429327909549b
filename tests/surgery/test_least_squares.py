"""Streamed least squares: what lstsq gives, whatever the shards, and a refusal of too few positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twofold.checkpoints import tensors
from twofold.errors import UserError
from twofold.surgery import LeastSquares, r_squared
from twofold.surgery.least_squares import named, read_maps

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(200, 12, generator=GENERATOR) * torch.logspace(-3, 3, 12)
Y = torch.randn(200, 5, generator=GENERATOR) + X[:, :5]


def test_it_is_ordinary_least_squares() -> None:
    fit = LeastSquares()
    fit.add(X, Y, X)
    found, same = fit.solve()
    expected = np.linalg.lstsq(X.double().numpy(), Y.double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(X.double().numpy() @ found, X.double().numpy() @ expected, atol=1e-8)
    np.testing.assert_allclose(same, np.eye(12), atol=1e-6)


def test_shards_may_come_in_any_order() -> None:
    whole, shards = LeastSquares(), LeastSquares()
    whole.add(X, Y)
    for piece in reversed(range(0, 200, 37)):
        shards.add(X[piece : piece + 37], Y[piece : piece + 37])
    assert shards.count == 200
    np.testing.assert_allclose(shards.solve()[0], whole.solve()[0], rtol=1e-9, atol=1e-12)


def test_ridge_is_relative_to_each_feature() -> None:
    def fitted(scale: float) -> np.ndarray:
        fit = LeastSquares(0.1)
        fit.add(X * scale, Y)
        return fit.solve()[0]

    np.testing.assert_allclose(fitted(1024.0) * 1024, fitted(1.0), rtol=1e-4, atol=1e-9)
    plain = LeastSquares()
    plain.add(X, Y)
    assert np.linalg.norm(X.numpy() @ fitted(1.0)) < np.linalg.norm(X.numpy() @ plain.solve()[0])


def test_dependent_and_dead_features() -> None:
    x = torch.cat([X, X[:, :2], torch.zeros(200, 1)], dim=1)
    fit = LeastSquares()
    fit.add(x, X)
    assert np.abs(x.double().numpy() @ fit.solve()[0] - X.double().numpy()).max() < 1e-4 * float(X.abs().max())


def test_too_few_positions_are_refused_unless_ridge_is_set() -> None:
    fit = LeastSquares()
    with pytest.raises(UserError, match="0 positions are too few"):
        fit.solve()
    fit.add(X[:23], Y[:23])
    with pytest.raises(UserError, match="23 positions are too few to fit a map of 12 features, which takes 24"):
        fit.solve()
    held = LeastSquares(0.01)
    held.add(X[:5], Y[:5])
    assert np.isfinite(held.solve()[0]).all()
    with pytest.raises(UserError, match="at least 0"):
        LeastSquares(-1.0)


def test_r_squared() -> None:
    y = torch.randn(50, 3, generator=GENERATOR)
    assert r_squared(y, y) == 1
    assert abs(r_squared(y.mean(0).expand(50, 3), y)) < 1e-6
    still = torch.cat([y, torch.ones(50, 1)], dim=1)  # a coordinate that never varies says nothing
    assert r_squared(still, still) == 1


def test_maps_are_read_back_and_nothing_else(tmp_path: Path) -> None:
    maps = {(0, 3): torch.randn(4, 4), (2, 3): torch.randn(4, 4)}
    tensors.save(tmp_path / "a.safetensors", named(maps))
    found = read_maps(tmp_path / "a.safetensors", 4)
    assert found.keys() == maps.keys()
    assert all(torch.equal(found[k], maps[k]) for k in maps)
    with pytest.raises(UserError, match="no map between layers of width 5"):
        read_maps(tmp_path / "a.safetensors", 5)
    (tmp_path / "b.safetensors").write_bytes(b"\x08\0\0\0garbage")
    with pytest.raises(UserError, match="damaged"):
        read_maps(tmp_path / "b.safetensors", 4)
