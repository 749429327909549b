"""`SequenceModel`: embedding, stack and head as one network, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from twofold.parts.caches import StackCache
from twofold.parts.heads import Head
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.part import Part
from twofold.parts.stack import Stack


class SequenceModel(Part):
    """From ids to states, and through a head to whatever it gives.

    Args:
        embedding: ids `[B, T]` and positions to states.
        stack: states to states.
        head: states (and the embedding's table) to outputs; None: `forward` gives the states.
    """

    def __init__(self, embedding: Part, stack: Stack, head: Part | None = None) -> None:
        super().__init__()
        self.embedding, self.stack, self.head = embedding, stack, head

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        mask: AnyMask = None,
        cache: StackCache | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Tensor:
        """The head's output `[B, T, ...]`, or states `[B, T, D]` where there is no head.

        Args:
            ids: tokens; with a cache, the new ones only.
            mask: a `Mask`, or bool `[B, T]`, True = real.
            cache: from `new_cache`, updated in place.
            types: token types, for embeddings that have them.
        """
        states = self.states(ids, mask, cache, types=types)
        return states if self.head is None else self.apply_head(states)

    def apply_head(self, states: Float[Tensor, "*batch dim"]) -> Tensor:
        """The head on states `[..., D]` (states themselves where there is no head): only where an answer is needed, say."""
        if self.head is None:
            return states
        return (
            self.head(states, getattr(self.embedding, "table", None))
            if isinstance(self.head, Head)
            else self.head(states)
        )

    def states(
        self,
        ids: Int[Tensor, "batch time"],
        mask: AnyMask = None,
        cache: StackCache | None = None,
        stop: int | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """States after the whole stack, or those that block `stop` would take (0: the embedding; no final norm then)."""
        mask = Mask.of(mask)
        x = self.embed(ids, mask, cache, types)
        return self.stack(x, mask, cache, stop=stop)

    def embed(
        self,
        ids: Int[Tensor, "batch time"],
        mask: AnyMask = None,
        cache: StackCache | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """What the stack starts from."""
        mask = Mask.of(mask)
        time = ids.shape[1]
        if cache is None:
            places = mask.places(time, ids.device)
        else:
            places, _ = cache.ledger.place(cache.length, time, mask, ids.device)
        extra: dict[str, Any] = {} if types is None else {"types": types}
        return self.embedding(ids, places.positions, **extra)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> StackCache:
        """An empty cache for `batch` rows of at most `max_len` tokens; dtype and device default to the weights'."""
        return self.stack.new_cache(batch, max_len, dtype, device)

    @property
    def dim(self) -> int:
        """Width of the states."""
        return self.embedding.dim

    @property
    def vocab(self) -> int:
        """Number of tokens."""
        return self.embedding.vocab

    @property
    def max_len(self) -> int | None:
        """Longest input; None: no limit."""
        mixers = [getattr(layer, "mixer", None) for layer in self.stack.layers]
        limits = [getattr(part, "max_len", None) for part in (self.embedding, *mixers)]
        return min((limit for limit in limits if limit is not None), default=None)
