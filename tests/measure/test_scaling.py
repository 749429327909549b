"""Power laws and networks of equal cost."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.errors import UserError
from twofold.measure.costs import cost, training_flops
from twofold.measure.scaling import fit_power_law, iso_flops, speedup_factor, value_at
from twofold.parts import decoder


def test_an_exact_law_is_found_without_doubt() -> None:
    costs = np.array([1e9, 3e9, 1e10, 5e10])
    law = fit_power_law(7.0 * costs**-0.12, costs)
    assert law.exponent.mean == pytest.approx(0.12)
    assert law.exponent.low == pytest.approx(0.12)
    assert law.exponent.high == pytest.approx(0.12)
    assert law.scale == pytest.approx(7.0)
    assert law(2e9) == pytest.approx(7.0 * 2e9**-0.12)


def test_noise_widens_the_interval_around_the_truth() -> None:
    made = np.random.default_rng(1)
    costs = np.repeat(np.geomspace(1e8, 1e10, 8), 3)
    widths = []
    for noise in (0.01, 0.05):
        law = fit_power_law(3.0 * costs**-0.1 * np.exp(noise * made.standard_normal(len(costs))), costs)
        assert law.exponent.low < 0.1 < law.exponent.high
        widths.append(law.exponent.high - law.exponent.low)
    assert widths[1] > 2 * widths[0]
    assert fit_power_law([3.0, 2.0, 2.5], [1, 2, 3]) == fit_power_law([3.0, 2.0, 2.5], [1, 2, 3])


@pytest.mark.parametrize(
    ("loss", "cost"),
    [([1.0, 2.0], [1.0]), ([1.0, -1.0], [1.0, 2.0]), ([1.0, 2.0], [3.0, 3.0]), ([1.0, np.inf], [1, 2])],
)
def test_points_that_make_no_law(loss: list[float], cost: list[float]) -> None:
    with pytest.raises(ValueError, match="power law"):
        fit_power_law(loss, cost)


def test_the_widest_within_the_operations() -> None:
    sizes = range(8, 80, 8)
    flops = {size: cost(decoder(20, size, 1, 2), 16).flops for size in sizes}
    make = lambda size: decoder(20, size, 1, 2)  # noqa: E731
    for size in sizes:
        assert iso_flops(make, flops[size], sizes, 16) == size
        assert iso_flops(make, flops[size] + 1, sizes, 16) == size
    with pytest.raises(UserError, match="even size 8 costs"):
        iso_flops(make, flops[8] - 1, sizes, 16)


def test_speed_up_of_a_curve_that_is_twice_as_cheap() -> None:
    costs = np.array([1.0, 2.0, 4.0, 8.0])
    losses = 3 * costs**-0.2
    for at in (2.0, 3.0, 8.0):
        assert speedup_factor(costs, losses, costs / 2, losses, at) == pytest.approx(2)
        assert speedup_factor(costs, losses, costs, losses, at) == pytest.approx(1)
    assert speedup_factor(costs, losses, costs, losses + 10, 4.0) == 0
    assert speedup_factor(costs, losses, costs, losses / 10, 4.0) == np.inf
    bumpy = losses.copy()
    bumpy[2] = 99.0
    assert speedup_factor(costs, losses, costs, bumpy, 2.0) == pytest.approx(1)
    with pytest.raises(ValueError, match="outside"):
        speedup_factor(costs, losses, costs, losses, 9.0)
    with pytest.raises(ValueError, match="costs rise"):
        speedup_factor(costs[::-1], losses, costs, losses, 2.0)


def test_a_curve_is_read_at_the_last_point_before() -> None:
    curve = [(1.0, 5.0), (2.0, 4.0), (3.0, 4.5)]
    assert [value_at(curve, x) for x in (0.5, 1.0, 2.9, 3 - 1e-10, 9.0)] == [5.0, 5.0, 4.0, 4.5, 4.5]


def test_training_costs_three_passes() -> None:
    net = decoder(20, 16, 2, 2)
    assert training_flops(net, 8, 800) == 2400 * cost(net, 8).flops
