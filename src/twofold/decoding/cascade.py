"""When to answer from little, and when to look further."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_STEPS = 100


def thresholds(probabilities: Sequence[np.ndarray], classes: np.ndarray) -> tuple[float, ...]:
    """For each classifier but the last, from which probability of its best class on it answers.

    Of 101 equally spaced values the smallest with which the cascade is right most often on held-out items, found from
    the last classifier to the first. Kusupati et al. 2022, https://arxiv.org/abs/2205.13147, section 4.2.1.

    Args:
        probabilities: of each classifier, cheapest first, `[n, classes]`.
        classes: the right ones, `[n]`.

    Returns:
        One number in [0, 1] for each classifier but the last; an answer needs at least that probability.
    """
    rest = probabilities[-1].argmax(1) == classes
    found: list[float] = []
    grid = np.linspace(0, 1, _STEPS + 1)
    for each in reversed(probabilities[:-1]):
        sure, right = each.max(1), each.argmax(1) == classes
        answered = np.where(sure[None] >= grid[:, None], right[None], rest[None])
        best = int(answered.sum(1).argmax())
        found.append(float(grid[best]))
        rest = answered[best]
    return tuple(reversed(found))
