"""How far computation graphs are from one another, and points that stand as far apart.

Tuli et al. 2022, section 3.2, https://arxiv.org/abs/2205.11656
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twofold.parts import Graph
from twofold.parts.designs import EDGE

Floats = NDArray[np.float64]


def graph_distance(a: Graph, b: Graph) -> float:
    """What it takes at least to edit one graph into the other; see `graph_distances`."""
    return float(graph_distances([a, b])[0, 1])


def graph_distances(graphs: Sequence[Graph]) -> Floats:
    """Edit distances of all pairs, `[n, n]`: nodes come, go or are relabelled at their weights, edges come and go.

    A node is relabelled as another of its kind alone. What is kept stays in order, as a computation does. That makes it
    a metric, and one found by dynamic programming over places, for all pairs at once. Without the order the distance
    could only be smaller; with an edge as dear as it is here, and two layers at most, swapping nodes never pays.

    Args:
        graphs: paths from input to output, of one space.
    """
    first, second = np.triu_indices(len(graphs), 1)
    relabel, weights, lengths = _costs(graphs)
    longest = weights.shape[1]
    n, m = lengths[first], lengths[second]
    w_a, w_b = weights[first], weights[second]
    # kept[i][j]: least cost of i and j nodes of which the last were matched with each other; least[i][j]: of any. The
    # inputs are matched. An edge is kept where both its ends are matched with the ends of one.
    pairs = len(first)
    kept = np.full((longest + 1, longest + 1, pairs), np.inf)
    least = np.full_like(kept, np.inf)
    kept[0, 0] = 0.0
    for i in range(longest + 1):
        for j in range(longest + 1):
            if i and j:
                own = relabel[first, i - 1, second, j - 1]
                kept[i, j] = own + np.minimum(kept[i - 1, j - 1] - 2 * EDGE, least[i - 1, j - 1])
            best = kept[i, j]
            if i:
                best = np.minimum(best, least[i - 1, j] + w_a[:, i - 1])
            if j:
                best = np.minimum(best, least[i, j - 1] + w_b[:, j - 1])
            least[i, j] = best
    every = np.arange(pairs)
    ends = np.minimum(kept[n, m, every] - 2 * EDGE, least[n, m, every])  # the outputs are matched too
    found = np.zeros((len(graphs), len(graphs)))
    found[first, second] = found[second, first] = np.maximum(ends + EDGE * (n + m + 2), 0.0)
    return np.where(found < 1e-12, 0.0, found)


def _costs(graphs: Sequence[Graph]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Costs of relabelling `[n, L, n, L]`, weights `[n, L]` (infinite behind the end), and numbers of nodes `[n]`."""
    lengths = np.array([len(graph.nodes) for graph in graphs])
    longest = int(lengths.max(initial=0))
    known = list(dict.fromkeys(node for graph in graphs for node in graph.nodes))
    number = {node: i for i, node in enumerate(known)}
    table = np.full((len(known) + 1, len(known) + 1), np.inf)
    for node, i in number.items():
        for other, j in number.items():
            if node.kind == other.kind:
                table[i, j] = sum(abs(x - y) for x, y in zip(node.point, other.point, strict=True))
    weight = np.array([*(node.weight for node in known), np.inf])
    index = np.full((len(graphs), longest), len(known))
    for row, graph in enumerate(graphs):
        index[row, : len(graph.nodes)] = [number[node] for node in graph.nodes]
    return table[index[:, :, None, None], index[None, None]], weight[index], lengths


def placed(distances: Floats, dim: int = 16, rounds: int = 200) -> Floats:
    """Points `[n, dim]` whose distances are as near as can be to those given, in squares (their stress).

    Starts from classical scaling (Torgerson 1952) and lowers the stress by majorisation (De Leeuw 1977): no step can
    raise it, and there is nothing to tune.

    Args:
        distances: `[n, n]`, symmetric.
        dim: of the points.
        rounds: steps.
    """
    n = len(distances)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centre @ distances**2 @ centre)
    order = np.argsort(values)[::-1][:dim]
    points = np.zeros((n, dim))
    points[:, : len(order)] = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    for _ in range(rounds):
        now = apart(points)
        ratio = np.divide(distances, now, out=np.zeros_like(now), where=now > 1e-9)
        points = (np.diag(ratio.sum(1)) - ratio) @ points / n
    return points


def apart(points: Floats) -> Floats:
    """Euclidean distances of all pairs, `[n, n]`."""
    squares = (points**2).sum(1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0.0)))


def stress(distances: Floats, points: Floats) -> float:
    """The root of squared errors over squared distances: 0 where points say it all."""
    total = float((distances**2).sum())
    return float(np.sqrt(((apart(points) - distances) ** 2).sum() / total)) if total else 0.0
