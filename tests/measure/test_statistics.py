import math

import numpy as np
import pytest
from scipy import stats

from twofold.measure import statistics
from twofold.measure.statistics import Interval


def test_bootstrap_covers_the_mean_as_the_normal_theory_says() -> None:
    data = np.random.default_rng(1).normal(3, 2, size=400)
    found = statistics.bootstrap(data, n=4000)
    half = 1.96 * data.std() / 20
    assert found.mean == pytest.approx(data.mean())
    assert found.low == pytest.approx(data.mean() - half, abs=0.02)
    assert found.high == pytest.approx(data.mean() + half, abs=0.02)
    assert (found.level, found.n) == (0.95, 400)


def test_bootstrap_repeats_itself_and_the_seed_matters() -> None:
    data = np.random.default_rng(0).normal(size=50)
    assert statistics.bootstrap(data, seed=3) == statistics.bootstrap(data, seed=3)
    assert statistics.bootstrap(data, seed=3) != statistics.bootstrap(data, seed=4)


def test_one_item_has_a_figure_and_no_interval() -> None:
    found = statistics.bootstrap([2.5], weights=[3.0])
    assert found.mean == 2.5
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(statistics.paired_bootstrap([1.0], [3.0]).low)


def test_bootstrap_in_pieces_is_a_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).normal(size=50)
    whole = statistics.bootstrap(data, n=3000)
    monkeypatch.setattr(statistics, "_DRAWS_AT_ONCE", 130)
    pieces = statistics.bootstrap(data, n=3000)
    assert (pieces.low, pieces.high) == pytest.approx((whole.low, whole.high), abs=0.03)


def test_pairing_removes_what_items_have_in_common() -> None:
    generator = np.random.default_rng(0)
    hard = generator.uniform(0, 1, size=300)
    method = hard + 0.05 + generator.normal(0, 0.02, size=300)
    found = statistics.paired_bootstrap(hard, method)
    assert 0.04 < found.low < found.mean < found.high < 0.06
    assert found.mean == pytest.approx((method - hard).mean())


def test_t_interval_is_students() -> None:
    data = [0.03, 0.05, 0.01, 0.04]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(data), scale=stats.sem(data))
    found = statistics.t_interval(data)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert statistics.t_interval([0.0, 0.0, 0.0]) == Interval(0, 0, 0, 0.95, 3)


def test_level_widens() -> None:
    data = [0.03, 0.05, 0.01, 0.04]
    assert statistics.t_interval(data, level=0.99).low < statistics.t_interval(data).low
    assert statistics.bootstrap(data, level=0.5).high < statistics.bootstrap(data).high


def test_ratio_scale_is_the_difference_of_logarithms() -> None:
    found = statistics.t_interval(statistics.differences([1, 2, 4], [2, 4, 8], "ratio"))
    assert found.exp().mean == pytest.approx(2)
    assert found.exp().low == pytest.approx(2)
    assert (-found).exp().mean == pytest.approx(0.5)


def test_turning_an_interval_swaps_its_ends() -> None:
    assert -Interval(1, 0, 3, 0.95, 5) == Interval(-1, -3, 0, 0.95, 5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_figures_that_are_no_numbers_are_refused_with_their_place(bad: float) -> None:
    for call in (
        lambda: statistics.bootstrap([1.0, bad]),
        lambda: statistics.t_interval([1.0, bad]),
        lambda: statistics.paired_bootstrap([1.0, 2.0], [1.0, bad]),
        lambda: statistics.differences([1.0, bad], [1.0, 2.0], "ratio"),
    ):
        with pytest.raises(ValueError, match="figure 1 of 2"):
            call()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="2, the method 3"):
        statistics.paired_bootstrap([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="at least 2"):
        statistics.t_interval([1.0])
    with pytest.raises(ValueError, match="at least one"):
        statistics.bootstrap([])
    with pytest.raises(ValueError, match="positive"):
        statistics.differences([1.0, 0.0], [1.0, 2.0], "ratio")
    with pytest.raises(ValueError, match="unknown scale"):
        statistics.differences([1.0], [1.0], "log")


def test_weighted_items_give_the_ratio_of_sums_in_every_resample() -> None:
    """Bits per byte of documents of very different sizes: all bits over all bytes."""
    generator = np.random.default_rng(2)
    size = generator.integers(10, 1000, 60).astype(float)
    bits = size * generator.uniform(1, 3, 60)
    found = statistics.bootstrap(bits / size, weights=size)
    assert found.mean == pytest.approx(bits.sum() / size.sum())
    drawn = np.random.default_rng(0).integers(0, 60, size=(2000, 60))
    ends = np.quantile(bits[drawn].sum(1) / size[drawn].sum(1), (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx(tuple(ends))
    better = bits * 0.9
    paired = statistics.paired_bootstrap(bits / size, better / size, weights=size)
    assert paired.mean == pytest.approx((better.sum() - bits.sum()) / size.sum())
    alike, plain = statistics.bootstrap(bits, weights=np.full(60, 7.0)), statistics.bootstrap(bits)
    assert (alike.mean, alike.low, alike.high) == pytest.approx((plain.mean, plain.low, plain.high))


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0]])
def test_weights_that_are_none_are_refused(weights) -> None:
    with pytest.raises(ValueError, match="weights above 0"):
        statistics.bootstrap([1.0, 2.0], weights=weights)
