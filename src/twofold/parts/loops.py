"""Blocks that are applied several times: depth of computation without more weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.caches import Cache, StackCache
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.part import Part
from twofold.parts.stack import Block


class LoopCache(StackCache):
    """What a `Loop` remembers: for each iteration, a cache for each of its blocks.

    Args:
        layers: the first iteration's caches, then the second's, ….
        times: iterations that they were made for.
    """

    def __init__(self, layers: Sequence[Cache | None], times: int, max_len: int) -> None:
        super().__init__(layers, max_len)
        self.times = times


class Loop(Part):
    """Blocks applied `times` times with the same weights, in the place of a layer of a stack.

    With a norm, what came in is added again before each iteration: `z ← blocks(norm(z) + z₀)`, else `z ← blocks(z)`.

    Args:
        layers: the blocks.
        times: iterations; may be set to another number on a trained network.
        norm: of the state before what came in is added to it; None: nothing is added.

    Raises:
        UserError: no blocks, or less than one iteration; on use, a cache that was made for other iterations.
    """

    def __init__(self, layers: Sequence[Part], times: int = 2, norm: Part | None = None) -> None:
        super().__init__()
        if not layers:
            raise UserError("Loop has no blocks to repeat; give at least one")
        self.layers, self.norm = nn.ModuleList(layers), norm
        self.times = iterations(times)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask, given, size = Mask.of(mask), x, len(self.layers)
        if cache is not None and (not isinstance(cache, LoopCache) or cache.times != self.times):
            made = f"for {cache.times} iterations" if isinstance(cache, LoopCache) else "by another layer"
            raise UserError(f"this loop takes {self.times} iterations and the cache was made {made}; make it anew")
        for turn in range(self.times):
            if self.norm is not None:
                x = self.norm(x) + given
            for i, layer in enumerate(self.layers):
                x = layer(x, mask, None if cache is None else cache.layers[turn * size + i])
        if cache is not None:
            cache.length += x.shape[1]
        return x

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> LoopCache:
        """An empty cache for as many iterations as are set now."""
        blocks = [cast(Block, layer) for _ in range(self.times) for layer in self.layers]
        return LoopCache([block.new_cache(batch, max_len, dtype, device) for block in blocks], self.times, max_len)


def iterations(times: int) -> int:
    """A number of iterations (UserError below one)."""
    if times < 1:
        raise UserError(f"a loop takes {times} iterations; use at least 1")
    return times


def set_iterations(net: nn.Module, times: int) -> None:
    """Sets how often every loop of a network is gone through, in place.

    Raises:
        UserError: less than one, or a network without loops.
    """
    loops = [part for part in net.modules() if isinstance(part, Loop)]
    if not loops:
        raise UserError("the network has no loops whose iterations could be set; use one of abbie")
    for loop in loops:
        loop.times = iterations(times)
