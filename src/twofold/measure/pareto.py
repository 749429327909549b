"""The Pareto front of quality against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence


def front(points: Sequence[tuple[float | None, float | None]]) -> list[int]:
    """The points that no other point beats: at least as good at both figures and better at one.

    Args:
        points: pairs of quality (more is better) and cost (less is better). A pair with a figure that is
            None or not a number is on no front. Equal points are on it together.

    Returns:
        Indices of the front's points, cheapest first; equal costs in the order given.
    """
    known = [
        (cost, -quality, index)
        for index, (quality, cost) in enumerate(points)
        if quality is not None and cost is not None and not math.isnan(quality) and not math.isnan(cost)
    ]
    chosen: list[int] = []
    best = (math.inf, math.inf)  # cost and negated quality of the last point on the front
    for cost, negated, index in sorted(known):
        if negated < best[1] or (cost, negated) == best:
            chosen.append(index)
            best = (cost, negated)
    return chosen
