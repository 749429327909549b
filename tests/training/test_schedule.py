"""Budgets, and the learning rate over them."""

import math

import pytest

from twofold.catalog.claims import Parameters, Seconds, Steps, Tokens
from twofold.errors import UserError
from twofold.training import Recipe
from twofold.training.schedule import Spent, check, learning_rate


def test_warm_up_then_half_a_cosine():
    recipe = Recipe(lr=2.0, warmup=0.2, final=0.1)
    shares = (0.0, 0.1, 0.2, 0.4, 0.6, 1.0)
    quarter = 0.2 + 1.8 * 0.5 * (1 + math.cos(math.pi / 4))
    assert [learning_rate(recipe, s) for s in shares] == pytest.approx([0.0, 1.0, 2.0, quarter, 1.1, 0.2])


def test_a_trapezoid_falls_by_the_root_of_time():
    recipe = Recipe(lr=2.0, warmup=0.1, final=0.0, schedule="trapezoid", cooldown=0.4)
    shares = (0.05, 0.1, 0.3, 0.6, 0.7, 1.0)
    assert [learning_rate(recipe, s) for s in shares] == pytest.approx([1.0, 2.0, 2.0, 2.0, 1.0, 0.0], abs=1e-12)
    whole = Recipe(lr=2.0, warmup=0.5, final=0.1, schedule="trapezoid", cooldown=1.0)
    assert learning_rate(whole, 0.5) == 2.0
    assert learning_rate(whole, 1.0) == pytest.approx(0.2)


def test_the_ends_of_the_warm_up():
    assert learning_rate(Recipe(lr=3.0, warmup=0.0), 0.0) == 3.0
    assert learning_rate(Recipe(lr=3.0, warmup=1.0), 0.5) == 1.5
    assert learning_rate(Recipe(lr=3.0, warmup=1.0), 1.0) == 3.0
    assert learning_rate(Recipe(lr=3.0, warmup=0.0, final=1.0), 0.7) == 3.0


def test_each_budget_counts_its_own():
    spent = Spent(steps=5, seconds=3.0, tokens=700)
    assert [spent.of(b) for b in (Steps(9), Seconds(9), Tokens(9))] == [5, 3.0, 700]
    assert [spent.fraction(b) for b in (Steps(10), Seconds(12), Tokens(500))] == [0.5, 0.25, 1.0]


@pytest.mark.parametrize(
    ("budget", "named"), [(Parameters(5), "Steps, Seconds or Tokens"), (Steps(0), "0 steps"), (Seconds(-1), "-1 sec")]
)
def test_what_training_cannot_spend_is_refused(budget, named):
    with pytest.raises(UserError, match=named):
        check(budget)
