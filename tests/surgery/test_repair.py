"""Closed-form repairs against plain least squares on the sample."""

import numpy as np
import pytest

from twofold.surgery import repair
from twofold.surgery.interpolative import pivoted


@pytest.fixture
def layer():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12)) + 0.5
    return z, rng.standard_normal((5, 12)), np.array([0, 3, 4, 7, 11])


def test_fold_is_the_output_of_the_interpolated_activations(layer):
    z, weight, _ = layer
    cut = pivoted(z).take(9)
    folded = repair.fold(weight, cut.transfer)
    np.testing.assert_allclose(z[:, cut.kept] @ folded.T, z[:, cut.kept] @ cut.transfer @ weight.T)


def test_scales_are_the_least_squares_ones(layer):
    z, weight, kept = layer
    found = repair.scales(z.T @ z, weight, kept)
    columns = np.stack([np.outer(z[:, j], weight[:, j]).ravel() for j in kept], axis=1)
    best = np.linalg.lstsq(columns, (z @ weight.T).ravel(), rcond=None)[0]
    np.testing.assert_allclose(found, best, rtol=1e-8)


def test_shift_keeps_the_mean_output(layer):
    z, weight, kept = layer
    after = z[:, kept] @ weight[:, kept].T + repair.shift(z.mean(0), weight, kept)
    np.testing.assert_allclose(after.mean(0), (z @ weight.T).mean(0), atol=1e-10)


def test_output_error_is_that_of_the_sample(layer):
    z, weight, kept = layer
    cut = weight[:, kept]
    true = np.linalg.norm(z @ weight.T - z[:, kept] @ cut.T) / np.linalg.norm(z @ weight.T)
    assert repair.output_error(z.T @ z, weight, kept, cut) == pytest.approx(true, rel=1e-8)
    everything = np.arange(12)
    assert repair.output_error(z.T @ z, weight, everything, weight) == 0
