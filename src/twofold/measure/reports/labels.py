"""Where to write names beside points so that nothing is covered: plain geometry, no plotting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_REACHES = (8.0, 14.0, 22.0, 34.0, 50.0, 70.0, 95.0)
_DIRECTIONS = 16
_NEAR = 14.0  # a name this near belongs to its point without a line


@dataclass(frozen=True)
class Box:
    """A rectangle, from (`left`, `bottom`) to (`right`, `top`)."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: Box) -> float:
        """The area that both cover."""
        across = min(self.right, other.right) - max(self.left, other.left)
        along = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, across) * max(0.0, along)

    def grown(self, margin: float) -> Box:
        return Box(self.left - margin, self.bottom - margin, self.right + margin, self.top + margin)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)

    def inside(self, other: Box) -> bool:
        return self.shared(other) >= self.area * (1 - 1e-9)


@dataclass(frozen=True)
class Place:
    """Where a name goes, and whether a thin line has to join it to its point."""

    box: Box
    joined: bool


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    bounds: Box,
) -> list[Place]:
    """A box for every name: near its point, inside the bounds, off other names, and off obstacles where it can be.

    Args:
        points: (x, y) of every point.
        sizes: (width, height) of every name.
        obstacles: what should not be covered: markers, error bars, lines.
        bounds: where names may be.

    Returns:
        Places in the order of the points. The same input gives the same places.
    """
    choices = [_candidates(p, s) for p, s in zip(points, sizes, strict=True)]
    chosen: dict[int, tuple[Box, float]] = {}
    # The most crowded points choose first; then each looks again, knowing where the others went.
    order = sorted(range(len(points)), key=lambda i: (-_crowd(points, i), i))
    for _ in range(3):
        for i in order:
            others = [box for j, (box, _) in chosen.items() if j != i]
            chosen[i] = min(choices[i], key=lambda c: _cost(c[0], c[1], others, obstacles, bounds))
    return [Place(chosen[i][0], chosen[i][1] > _NEAR) for i in range(len(points))]


def spread(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Middles of labels in one column, as near to where they are wanted as they can be without touching.

    Args:
        wanted: the middle that every label would like.
        heights: of the labels.
        low: lower end of the column.
        high: upper end of the column; where there is no room for all, labels run over it.
    """
    groups: list[list[int]] = []
    middles: list[float] = []

    def settle(members: list[int]) -> float:
        total = sum(heights[i] for i in members)
        bottom, offsets = 0.0, []
        for i in members:
            offsets.append(bottom + heights[i] / 2)
            bottom += heights[i]
        start = sum(wanted[i] - o for i, o in zip(members, offsets, strict=True)) / len(members)
        return max(low, min(start, high - total)) + total / 2

    for i in sorted(range(len(wanted)), key=lambda i: (wanted[i], i)):
        groups.append([i])
        middles.append(settle([i]))
        while len(groups) > 1 and _top(groups[-2], middles[-2], heights) > _bottom(groups[-1], middles[-1], heights):
            merged = groups[-2] + groups[-1]
            groups[-2:], middles[-2:] = [merged], [settle(merged)]
    result = [0.0] * len(wanted)
    for members, middle in zip(groups, middles, strict=True):
        bottom = _bottom(members, middle, heights)
        for i in members:
            result[i] = bottom + heights[i] / 2
            bottom += heights[i]
    return result


def _top(members: list[int], middle: float, heights: Sequence[float]) -> float:
    return middle + sum(heights[i] for i in members) / 2 - 1e-9


def _bottom(members: list[int], middle: float, heights: Sequence[float]) -> float:
    return middle - sum(heights[i] for i in members) / 2


def _candidates(point: tuple[float, float], size: tuple[float, float]) -> list[tuple[Box, float]]:
    """Boxes around a point with their distance from it; to the right comes first."""
    (x, y), (width, height) = point, size
    found = []
    for reach in _REACHES:
        for turn in range(_DIRECTIONS):
            angle = 2 * math.pi * turn / _DIRECTIONS
            across, along = math.cos(angle), math.sin(angle)
            # The side of the box that faces the point stands `reach` away from it.
            middle_x = x + across * reach + (width / 2) * _side(across)
            middle_y = y + along * reach + (height / 2) * _side(along)
            box = Box(middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2)
            found.append((box, reach))
    return found


def _side(part: float) -> float:
    """-1, 0 or 1 along an axis, and in between for slanting directions."""
    return max(-1.0, min(1.0, part * math.sqrt(2))) if abs(part) > 1e-9 else 0.0


def _crowd(points: Sequence[tuple[float, float]], i: int) -> float:
    return sum(1 / (1 + math.dist(points[i], p)) for j, p in enumerate(points) if j != i)


def _cost(box: Box, reach: float, others: Sequence[Box], obstacles: Sequence[Box], bounds: Box) -> float:
    outside = box.area - box.shared(bounds)
    on_names = sum(box.grown(2).shared(other) for other in others)
    on_marks = sum(box.shared(obstacle) for obstacle in obstacles)
    return 50 * outside + 50 * on_names + 8 * on_marks + reach
