"""Which units stay: scores over units, and a choice across layers under a budget of operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def select(
    priorities: Sequence[np.ndarray], costs: Sequence[float], budget: float, least: Sequence[int]
) -> list[np.ndarray]:
    """The units that stay, highest priority first across all groups, while they fit in the budget.

    Each group first keeps its `least` best units. A unit that does not fit is passed over, so that the budget
    is met to within the cheapest unit that was cut. For "highest score per operation first" give score / cost.

    Args:
        priorities: per group (a layer's neurons, a layer's heads) the priority of each unit.
        costs: per group what one unit costs.
        budget: what all kept units together may cost.
        least: per group how many units stay whatever they cost.

    Returns:
        Per group the indices of the units that stay, ascending.

    Raises:
        ValueError: the least units alone exceed the budget, or a priority is not a number.
    """
    if any(np.isnan(p).any() for p in priorities):
        raise ValueError("a priority is not a number")
    ranked = [np.argsort(-p, kind="stable") for p in priorities]
    sizes = [min(n, len(p)) for n, p in zip(least, priorities, strict=True)]
    left = budget * (1 + 1e-12) - sum(n * c for n, c in zip(sizes, costs, strict=True))
    if left < 0:
        raise ValueError("the least number of units does not fit in the budget")
    groups = np.concatenate([np.full(len(r) - n, g) for g, (r, n) in enumerate(zip(ranked, sizes, strict=True))])
    values = np.concatenate([p[r[n:]] for p, r, n in zip(priorities, ranked, sizes, strict=True)])
    # Within a group the order is that of `ranked`, so counting how many fit is enough.
    for group in groups[np.argsort(-values, kind="stable")]:
        if costs[group] <= left:
            left -= costs[group]
            sizes[group] += 1
    return [np.sort(r[:n]) for r, n in zip(ranked, sizes, strict=True)]


def select_uniform(
    priorities: Sequence[np.ndarray], costs: Sequence[float], budget: float, least: Sequence[int]
) -> list[np.ndarray]:
    """As `select`, with the same number of units in every group of the same size (a width for all layers).

    The n-th best units of such groups stay or go together; their priority is the mean.
    """
    ranked = [np.argsort(-p, kind="stable") for p in priorities]
    kinds: dict[tuple[int, int], list[int]] = {}
    for group, p in enumerate(priorities):
        kinds.setdefault((len(p), least[group]), []).append(group)
    merged = [np.mean([priorities[g][ranked[g]] for g in groups], axis=0) for groups in kinds.values()]
    together = [sum(costs[g] for g in groups) for groups in kinds.values()]
    chosen = select(merged, together, budget, [n for _, n in kinds])
    sizes = {g: len(kept) for groups, kept in zip(kinds.values(), chosen, strict=True) for g in groups}
    return [np.sort(ranked[g][: sizes[g]]) for g in range(len(priorities))]


def unit_range(scores: np.ndarray) -> np.ndarray:
    """Scores scaled linearly to [0, 1]; all 1 where they are all equal."""
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)
