"""`SequenceModel`: embedding, stack and head as one network, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from twofold.parts.caches import StackCache
from twofold.parts.embeddings import Embedding, NumberEmbedding, TokenEmbedding
from twofold.parts.heads import Head, TokenHead
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.part import Part
from twofold.parts.stack import Block, Stack

Ids = Int[Tensor, "batch time"] | Float[Tensor, "batch time channels"]
"""Tokens, or a row of numbers for each, where the embedding takes that."""


class SequenceModel(Part):
    """From ids to states, and through a head to whatever it gives.

    Args:
        embedding: ids `[B, T]` and positions to states.
        stack: states to states.
        head: states (and the embedding's table) to outputs; None: `forward` gives the states.
    """

    recomputes: ClassVar[bool] = False
    """Reads the whole sequence again at every step, so there is no cache."""

    def __init__(self, embedding: Embedding, stack: Stack, head: Part | None = None) -> None:
        super().__init__()
        self.embedding, self.stack, self.head = embedding, stack, head

    def forward(
        self,
        ids: Ids,
        mask: AnyMask = None,
        cache: StackCache | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Tensor:
        """The head's output `[B, T, ...]`, or states `[B, T, D]` where there is no head.

        Args:
            ids: tokens (or numbers, where the embedding takes those); with a cache, the new ones only.
            mask: a `Mask`, or bool `[B, T]`, True = real.
            cache: from `new_cache`, updated in place.
            types: token types, for embeddings that have them.
        """
        return self.apply_head(self.states(ids, mask, cache, types=types))

    def apply_head(self, states: Float[Tensor, "*batch dim"]) -> Tensor:
        """The head on states `[..., D]`, say of the tokens that need an answer; without a head, the states."""
        if self.head is None:
            return states
        return self.head(states, self.embedding.table) if isinstance(self.head, Head) else self.head(states)

    def states(
        self,
        ids: Ids,
        mask: AnyMask = None,
        cache: StackCache | None = None,
        stop: int | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """States after the whole stack, or (without final norm) those that block `stop` takes; 0: the embedding's."""
        mask = Mask.of(mask).for_pass()
        x = self.embed(ids, mask, cache, types)
        return self.stack(x, mask, cache, stop=stop)

    def newest(
        self, ids: Int[Tensor, "batch time"], mask: AnyMask = None, cache: StackCache | None = None
    ) -> Float[Tensor, "batch dim"]:
        """States of the last token alone; layers that need not work out the others do not (YOCO's early exit)."""
        if not getattr(self.stack.layers[-1], "reads_newest", False):
            return self.states(ids, mask, cache)[:, -1]
        mask = Mask.of(mask).for_pass()
        x: Tensor = self.stack(self.embed(ids, mask, cache), mask, cache, newest=True)
        return x[:, -1]

    def embed(
        self,
        ids: Ids,
        mask: AnyMask = None,
        cache: StackCache | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """What the stack starts from."""
        mask = Mask.of(mask)
        if cache is None:
            places = mask.places(ids.shape[0], ids.shape[1], ids.device)
        else:
            places, _ = cache.ledger.place(cache.length, ids.shape[0], ids.shape[1], mask, ids.device)
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
        mixers = [block.mixer for block in self.stack.modules() if isinstance(block, Block)]
        limits = [self.embedding.max_len, *(getattr(mixer, "max_len", None) for mixer in mixers)]
        return min((limit for limit in limits if limit is not None), default=None)


def reading_numbers(net: SequenceModel, channels: int) -> SequenceModel:
    """The same blocks, fresh weights around them: a row of numbers in and one number out for every token.

    Args:
        net: whose stack, and whose embedding's position, are taken over.
        channels: numbers in a token.
    """
    position = net.embedding.position if isinstance(net.embedding, TokenEmbedding) else None
    return SequenceModel(NumberEmbedding(channels, net.dim, position), net.stack, TokenHead(net.dim, 1))
