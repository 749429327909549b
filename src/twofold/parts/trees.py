"""Sums of decision trees, as boosting makes them, on flattened inputs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part


class Trees(Part):
    """Each tree adds the value of the leaf that an input falls into to one output.

    Friedman 2001, https://doi.org/10.1214/aos/1013203451. At a node, an input goes left where its feature is at most
    the threshold; a leaf is its own left and right.

    Args:
        trees: how many.
        nodes: places for nodes in a tree; the first is the root.
        outputs: numbers that are given.
        depth: steps from the root to the deepest leaf.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    output: Tensor
    base: Tensor

    def __init__(self, trees: int, nodes: int, outputs: int, depth: int) -> None:
        super().__init__()
        at_least_one("Trees", trees=trees, nodes=nodes, outputs=outputs)
        self.depth = depth
        for name in ("feature", "left", "right"):
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=torch.int64))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(trees, nodes))
        self.register_buffer("output", torch.zeros(trees, dtype=torch.int64))
        self.register_buffer("base", torch.zeros(outputs))

    def forward(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch outputs"]:
        x = x.flatten(1).float()
        tree = torch.arange(len(self.output), device=x.device)
        node = torch.zeros(len(x), len(tree), dtype=torch.int64, device=x.device)
        for _ in range(self.depth):
            low = x.gather(1, self.feature[tree, node]) <= self.threshold[tree, node]
            node = torch.where(low, self.left[tree, node], self.right[tree, node])
        out = self.base.expand(len(x), -1).clone()
        return out.index_add_(1, self.output, self.value[tree, node])
