"""Interpolative decomposition against its definitions."""

import numpy as np
import pytest

from twofold.errors import UserError
from twofold.surgery import interpolative
from twofold.surgery.interpolative import block_pivoted, pivoted, root


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def low_rank(rng, n, m, k):
    return rng.standard_normal((n, k)) @ rng.standard_normal((k, m))


def decaying(rng, n, m):
    return low_rank(rng, n, m, m) @ np.diag(np.logspace(0, -4, m)) @ rng.standard_normal((m, m))


def optimal(z, k):
    return np.linalg.norm(np.linalg.svd(z, compute_uv=False)[k:])


def factored(z, how):
    if how == "direct":
        return pivoted(z)
    if how == "gram":
        return pivoted(root(z.T @ z))
    return block_pivoted(root(z.T @ z) if how == "blocks of a gram" else z, 4)


HOWS = ["direct", "gram", "blocks", "blocks of a gram"]


@pytest.mark.parametrize("how", HOWS)
def test_exact_rank_is_reproduced(rng, how):
    z = low_rank(rng, 200, 24, 8)
    found = factored(z, how)
    cut = found.take(8 // found.width)
    assert len(cut.kept) == 8
    np.testing.assert_allclose(z[:, cut.kept] @ cut.transfer, z, atol=1e-5 * np.abs(z).max())


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_kept_columns_are_the_identity_and_the_residual_is_r22(rng, how, k):
    z = decaying(rng, 100, 24)
    found = factored(z, how)
    cut = found.take(k)
    count = k * found.width
    assert (cut.transfer[:, cut.kept] == np.eye(count)).all()
    assert (np.diff(cut.kept) > 0).all()
    error = np.linalg.norm(z - z[:, cut.kept] @ cut.transfer)
    assert error == pytest.approx(np.linalg.norm(found.r[count:, count:]), rel=1e-5)
    assert error == pytest.approx(cut.residual, rel=1e-5)
    assert error >= optimal(z, count) * (1 - 1e-9)


def test_transfer_is_the_least_squares_one(rng):
    z = decaying(rng, 100, 24)
    cut = block_pivoted(z, 4).take(3)
    best = np.linalg.lstsq(z[:, cut.kept], z, rcond=None)[0]
    np.testing.assert_allclose(cut.transfer, best, atol=1e-8)


def test_gram_gives_the_factorisation_of_the_sample(rng):
    z = decaying(rng, 100, 24)
    direct, gram = pivoted(z), pivoted(root(z.T @ z))
    assert (direct.order == gram.order).all()
    np.testing.assert_allclose(direct.norms, gram.norms, rtol=1e-5)


def test_root_of_a_gram_with_dead_and_equal_columns(rng):
    z = rng.standard_normal((50, 6))
    z[:, 2] = 0
    z[:, 4] = z[:, 1]
    gram = z.T @ z
    a = root(gram)
    np.testing.assert_allclose(a.T @ a, gram, atol=1e-6)


@pytest.mark.parametrize("how", ["direct", "gram"])
def test_of_two_equal_columns_one_goes_at_no_error(rng, how):
    z = rng.standard_normal((100, 10))
    z[:, 7] = z[:, 2]
    cut = factored(z, how).take(9)
    assert len({2, 7} & set(cut.kept)) == 1
    assert cut.residual < 1e-6 * np.linalg.norm(z)
    np.testing.assert_allclose(z[:, cut.kept] @ cut.transfer, z, atol=1e-6)


def test_blocks_are_taken_by_their_residual_norm(rng):
    z = rng.standard_normal((60, 12))
    z[:, 4:8] *= 5
    z[:, 8:12] = z[:, 4:8] @ rng.standard_normal((4, 4)) * 3  # large, but it lies in the block before it
    found = block_pivoted(z, 4)
    assert found.order[0] in (1, 2)
    assert found.order[1] == 0
    assert found.norms[2] < 1e-6
    assert (np.diff(found.norms) <= 0).all()


@pytest.mark.parametrize("how", HOWS)
def test_all_or_nearly_nothing(rng, how):
    z = decaying(rng, 100, 24)
    found = factored(z, how)
    everything = found.take(len(found.order))
    assert (everything.transfer == np.eye(24)).all()
    assert everything.residual == 0
    with pytest.raises(ValueError, match="not 0"):
        found.take(0)


def test_rank_by_tolerance(rng):
    found = pivoted(decaying(rng, 100, 24))
    ranks = [found.rank(t) for t in (0.0, 1e-4, 1e-2, 0.5, 1.0)]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == 24
    assert ranks[-1] == 1
    assert found.ratios[0] == 1


def test_kept_columns_that_depend_on_one_another_stay_finite(rng):
    z = low_rank(rng, 100, 24, 3)
    for found in (pivoted(z), block_pivoted(z, 4)):
        cut = found.take(6 // found.width + 1)
        assert np.isfinite(cut.transfer).all()
        np.testing.assert_allclose(z[:, cut.kept] @ cut.transfer, z, atol=1e-6)


def test_silent_units_are_no_error():
    found = pivoted(np.zeros((10, 4)))
    assert (found.ratios == 0).all()
    assert np.isfinite(found.take(2).transfer).all()


def test_too_few_rows_are_refused_with_the_numbers(rng):
    for factor in (pivoted, lambda z: block_pivoted(z, 4)):
        with pytest.raises(UserError, match=r"7 rows .* 12 columns"):
            factor(rng.standard_normal((7, 12)))


def test_float32_is_computed_in_float64(rng):
    assert pivoted(rng.standard_normal((30, 8)).astype(np.float32)).r.dtype == np.float64
    assert interpolative.root(np.eye(3, dtype=np.float64)).dtype == np.float64
