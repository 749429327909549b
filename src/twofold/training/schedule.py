"""How much of a budget is spent, and the learning rate that follows from it."""

from __future__ import annotations

import math
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

    It rises linearly to `lr` over the first `warmup` of the budget, then falls along half a cosine to
    `final · lr` (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983).
    """
    if fraction <= recipe.warmup and recipe.warmup > 0:
        return recipe.lr * fraction / recipe.warmup
    fallen = (fraction - recipe.warmup) / (1 - recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * fallen))
    return recipe.lr * (recipe.final + (1 - recipe.final) * cosine)
