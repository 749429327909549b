"""Learned causal matrices over positions, the same for every input, in place of attention.

Badger 2024, "Masked Mixers for Language Generation and Retrieval", https://arxiv.org/abs/2409.01482
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, KeyValueCache
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer


class MaskedMixer(Mixer):
    """`(W ∘ lower triangle) x + b` over positions: W `[max_len, max_len]` and b `[max_len]` for all features alike.

    With several heads the features pass through a map first, each head's share of them has a W and a b of its own, and
    another map joins them. Entries of W above the diagonal are left out by the mask and never learn.

    Args:
        dim: width of the states.
        max_len: the longest input; W has an entry for every two positions.
        heads: matrices, each for its share of the features.

    Raises:
        UserError: a width that does not divide into heads of even width.
    """

    causal = "yes"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"one": cls(dim, 48), "heads": cls(dim, 48, 4)}

    def __init__(self, dim: int, max_len: int = 256, heads: int = 1) -> None:
        super().__init__()
        at_least_one("MaskedMixer", dim=dim, max_len=max_len, heads=heads)
        if dim % (2 * heads):
            raise UserError(
                f"MaskedMixer: dim {dim} does not divide into {heads} heads of even width; "
                f"use dim={max(1, dim // (2 * heads)) * 2 * heads}"
            )
        self.dim, self.max_len, self.heads = dim, max_len, heads
        self.enter = Dense(dim, dim, bias=False) if heads > 1 else None
        self.leave = Dense(dim, dim, bias=False) if heads > 1 else None
        bound = max_len**-0.5
        self.spatial = nn.Parameter(torch.empty(heads, max_len, max_len).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(heads, max_len).uniform_(-bound, bound))

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask).made_causal()
        batch, time = x.shape[:2]
        if cache is None:
            queries = keys = mask.places(batch, time, x.device)
        elif isinstance(cache, KeyValueCache):
            queries, keys = cache.place(batch, time, mask)
        else:
            raise UserError(f"MaskedMixer needs the cache that its new_cache makes, not {type(cache).__name__}")
        if int(queries.positions.max()) >= self.spatial.shape[1]:
            raise UserError(
                f"MaskedMixer has a matrix for {self.max_len} positions, and the input is longer; shorten it, or make "
                "the mixer with a larger max_len"
            )
        u = x if self.enter is None else self.enter(x)
        v = u.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if isinstance(cache, KeyValueCache):
            v = torch.cat(cache.append(*v.chunk(2, -1)), -1)
        rows, columns = queries.positions.clamp(min=0), keys.positions.clamp(min=0)
        weight = self.spatial[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
        mixed = (weight * mask.dense(queries, keys)) @ v + self.bias[:, rows].transpose(0, 1)[..., None]
        out = mixed.transpose(1, 2).flatten(2)
        return out if self.leave is None else self.leave(out)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> KeyValueCache:
        """Remembers what every token brought, half of its features as keys, half as values."""
        half = self.dim // self.heads // 2
        like = self.spatial
        return KeyValueCache(batch, self.heads, max_len, half, dtype or like.dtype, device or like.device)

    def flops(self, time: int) -> int:
        maps = sum(part.flops(time) for part in (self.enter, self.leave) if part is not None)
        return maps + self.dim * time * time
