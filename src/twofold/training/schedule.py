"""How much of a budget is spent, and the learning rate that follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from twofold.catalog.claims import Budget, Seconds, Steps, Tokens
from twofold.errors import UserError
from twofold.training.recipe import Recipe


@dataclass
class Spent:
    """What training has used so far. Seconds are those of training itself, not of validating or saving."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0

    def of(self, budget: Budget) -> float:
        """What was used of the budget's own unit."""
        return getattr(self, _unit(budget))

    def fraction(self, budget: Budget) -> float:
        """The share of the budget that is used, in [0, 1]."""
        return min(1.0, self.of(budget) / budget.amount)


def _unit(budget: Budget) -> str:
    for kind, unit in ((Steps, "steps"), (Seconds, "seconds"), (Tokens, "tokens")):
        if isinstance(budget, kind):
            return unit
    raise UserError(f"training cannot spend {budget!r}; give a budget of Steps, Seconds or Tokens")


def check(budget: Budget) -> None:
    """Refuse a budget that training cannot spend."""
    unit = _unit(budget)
    if not budget.amount > 0:
        raise UserError(f"a budget of {budget.amount} {unit} trains nothing; give more than 0")


def learning_rate(recipe: Recipe, fraction: float) -> float:
    """The learning rate when `fraction` of the budget, the step itself included, is spent.

    It rises linearly to `lr` over the first `warmup` of the budget, then falls to `final · lr` as `schedule` says.
    """
    if fraction <= recipe.warmup and recipe.warmup > 0:
        return recipe.lr * fraction / recipe.warmup
    above = SCHEDULES[recipe.schedule](recipe, fraction)
    return recipe.lr * (recipe.final + (1 - recipe.final) * above)


def _cosine(recipe: Recipe, fraction: float) -> float:
    """Half a cosine. Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983"""
    fallen = (fraction - recipe.warmup) / (1 - recipe.warmup)
    return 0.5 * (1 + math.cos(math.pi * fallen))


def _trapezoid(recipe: Recipe, fraction: float) -> float:
    """Constant, then 1 - √t over the last `cooldown`. Hägele et al. 2024, https://arxiv.org/abs/2405.18392"""
    begins = 1 - min(recipe.cooldown, 1 - recipe.warmup)
    if fraction <= begins:
        return 1.0
    return 1 - math.sqrt((fraction - begins) / (1 - begins))


SCHEDULES: dict[str, Callable[[Recipe, float], float]] = {"cosine": _cosine, "trapezoid": _trapezoid}
"""Ways down by name: a recipe and the share that is spent -> how far above `final` the rate is, in [0, 1]."""
