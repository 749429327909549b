"""Choosing units under a budget."""

import numpy as np
import pytest

from twofold.surgery.importance import select, select_uniform, unit_range


def cost(kept, costs):
    return sum(len(k) * c for k, c in zip(kept, costs, strict=True))


def test_highest_priority_first_across_groups():
    kept = select([np.array([5.0, 1.0, 3.0]), np.array([4.0, 2.0])], [1, 1], 3, [1, 1])
    assert [k.tolist() for k in kept] == [[0, 2], [0]]


def test_the_least_stay_whatever_they_are_worth():
    kept = select([np.array([9.0, 8.0, 7.0]), np.array([1.0, 2.0])], [1, 1], 3, [1, 2])
    assert [k.tolist() for k in kept] == [[0], [0, 1]]


def test_budget_is_met_within_the_cheapest_unit():
    rng = np.random.default_rng(0)
    priorities, costs = [rng.random(40), rng.random(40), rng.random(6)], [3.0, 3.0, 50.0]
    for budget in (65, 123, 300, 539):
        kept = select(priorities, costs, budget, [2, 2, 1])
        assert budget - 3.0 < cost(kept, costs) <= budget


def test_a_full_budget_keeps_everything():
    priorities, costs = [np.array([1.0, 1.0, 0.0]), np.array([0.1])], [0.1, 0.7]
    kept = select(priorities, costs, 3 * 0.1 + 0.7, [1, 1])
    assert [k.tolist() for k in kept] == [[0, 1, 2], [0]]


def test_equal_priorities_keep_the_first():
    assert select([np.ones(5)], [1], 3, [1])[0].tolist() == [0, 1, 2]


def test_uniform_gives_one_width():
    rng = np.random.default_rng(0)
    priorities = [rng.random(16), 10 + rng.random(16), rng.random(4), rng.random(4)]
    costs, least = [1.0, 1.0, 5.0, 5.0], [2, 2, 1, 1]
    kept = select_uniform(priorities, costs, 40, least)
    assert len(kept[0]) == len(kept[1])
    assert len(kept[2]) == len(kept[3])
    assert 38 < cost(kept, costs) <= 40
    best = np.sort(np.argsort(-priorities[0])[: len(kept[0])])
    assert kept[0].tolist() == best.tolist()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        select([np.ones(5)], [1], 2, [3])
    with pytest.raises(ValueError, match="not a number"):
        select([np.array([1.0, np.nan])], [1], 2, [1])


def test_unit_range():
    np.testing.assert_allclose(unit_range(np.array([3.0, 5.0, 4.0])), [0, 1, 0.5])
    np.testing.assert_allclose(unit_range(np.array([2.0, 2.0])), [1, 1])
