"""Means of segments of a sequence at several sizes, in a form in which a whole segment is moved at once.

Zeng et al. 2023, section 4.4, https://arxiv.org/abs/2305.04241
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one


class SegmentTree:
    """Segments of the coarsest size, each made of segments of the next size, down to single tokens.

    A node keeps what was added to it as a whole, and the mean of what lies below it. A token is what is kept along its
    path, so a node moves all its tokens in O(1), and a layer that touches r nodes costs O(r).

    Args:
        leaves: the tokens, `[B, n, D]`; n need not be a multiple of a size.
        sizes: of segments, falling, the last one 1; each divides the one before.
        real: bool `[B, n]`, what counts in means; None: all of it.

    Attributes:
        counts: for each level, how many tokens that count each node stands for, `[B, nodes]`.

    Raises:
        UserError: sizes that do not fit into one another.
    """

    def __init__(
        self,
        leaves: Float[Tensor, "batch time dim"],
        sizes: Sequence[int],
        real: Bool[Tensor, "batch time"] | None = None,
    ) -> None:
        self.sizes, self.length = nested(sizes), leaves.shape[1]
        if self.sizes[-1] != 1:
            raise UserError(f"a segment tree ends at single tokens; give sizes such as {[*self.sizes, 1]}")
        more = -self.length % self.sizes[0]
        seen = torch.ones(leaves.shape[:2], dtype=leaves.dtype, device=leaves.device) if real is None else real
        seen = F.pad(seen.to(leaves.dtype), (0, more))
        leaves = F.pad(leaves, (0, 0, 0, more))
        if not more:
            leaves = leaves.clone()  # it is changed in place
        self.counts = [seen.unflatten(1, (-1, size)).sum(2) for size in self.sizes]
        weighted = leaves * seen[..., None]
        below = [
            weighted.unflatten(1, (-1, size)).sum(2) / count.clamp_min(1)[..., None]
            for size, count in zip(self.sizes[:-1], self.counts[:-1], strict=True)
        ]
        # Nodes of all rows in one list: what is taken from it by number may be changed before gradients flow.
        self._below = [mean.flatten(0, 1) for mean in below]
        self._moved = [*(torch.zeros_like(mean) for mean in self._below), leaves.flatten(0, 1)]

    def mean(self, level: int) -> Float[Tensor, "batch nodes dim"]:
        """The means of all segments of a size; level 0 is the coarsest."""
        total = self._moved[0]
        for step in range(1, level + 1):
            ratio = self.sizes[step - 1] // self.sizes[step]
            total = total.repeat_interleave(ratio, 0) + self._moved[step]
        total = total + self._below[level] if level < len(self._below) else total
        return total.unflatten(0, self.counts[level].shape)

    def at(self, level: int, nodes: Int[Tensor, "batch few"]) -> Float[Tensor, "batch few dim"]:
        """The means of some segments of a size, by number."""
        places = self._places(level, nodes)
        total = self._moved[level].index_select(0, places)
        if level < len(self._below):
            total = total + self._below[level].index_select(0, places)
        for upper in range(level):
            total = total + self._moved[upper].index_select(0, self._places(upper, self._above(upper, level, nodes)))
        return total.unflatten(0, nodes.shape)

    def add(self, level: int, nodes: Int[Tensor, "batch few"], delta: Float[Tensor, "batch few dim"]) -> None:
        """Adds `delta` to every token of some segments, each named once a row; the means above follow."""
        delta = delta.to(self._moved[level].dtype)
        self._moved[level].index_add_(0, self._places(level, nodes), delta.flatten(0, 1))
        count = self.counts[level].gather(1, nodes)
        for upper in range(level):
            above = self._above(upper, level, nodes)
            share = count / self.counts[upper].gather(1, above).clamp_min(1)
            self._below[upper].index_add_(0, self._places(upper, above), (delta * share[..., None]).flatten(0, 1))

    def leaves(self) -> Float[Tensor, "batch time dim"]:
        """All tokens as they are now."""
        return self.mean(len(self.sizes) - 1)[:, : self.length]

    def _above(self, upper: int, level: int, nodes: Tensor) -> Tensor:
        return nodes // (self.sizes[upper] // self.sizes[level])

    def _places(self, level: int, nodes: Tensor) -> Tensor:
        """Where nodes of a size stand in the list of all rows."""
        rows, width = self.counts[level].shape
        return (nodes + width * torch.arange(rows, device=nodes.device)[:, None]).flatten()


def nested(sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes of segments that fit into one another.

    Raises:
        UserError: they do not, or there are none.
    """
    for size in sizes:
        at_least_one("segments", size=size)
    if not sizes or any(upper <= lower or upper % lower for upper, lower in pairwise(sizes)):
        raise UserError(f"sizes of segments are {list(sizes)}; each must be a multiple of the next, as 128, 16, 1 are")
    return tuple(sizes)
