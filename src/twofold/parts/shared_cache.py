"""One set of keys and values that many layers read: a cache as large as that of one layer.

Sun et al. 2024, "You Only Cache Once: Decoder-Decoder Architectures for Language Models",
https://arxiv.org/abs/2405.05254
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.caches import Cache, KeyValueCache
from twofold.parts.linear import Dense, linear_flops
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.part import Part
from twofold.parts.positions import NoPosition, Position, Rope
from twofold.parts.rules import Places


class SharedKeys(Cache):
    """Keys and values `[B, G, S, d]` of one pass, for every `SharedAttention` that reads them, and who stands where."""

    def __init__(self, keys: Tensor, values: Tensor, queries: Places, sources: Places) -> None:
        self.keys, self.values, self.queries, self.sources = keys, values, queries, sources


class SharedAttention(Attention):
    """Attention with queries alone, for the keys and values that a `SharedCache` made once.

    Outside of one, it takes its own input, cut into heads, for keys and for values.

    Args:
        dim, heads, kv_heads, head_dim, position, causal: as of `Attention`; they must be those of the shared keys.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"rope": cls(dim, 4, position=Rope()), "causal": cls(dim, 2, causal=True)}

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        position: Position | None = None,
        causal: bool | None = None,
    ) -> None:
        super().__init__(dim, heads, kv_heads, head_dim, position, causal=causal)
        del self.key, self.value

    def project(self, x: Tensor, mask: Mask, cache: Cache | None) -> tuple[Tensor, Tensor, Tensor, Places, Places]:
        if isinstance(cache, SharedKeys):
            q = self.split(self.query(self.position.embed(x, cache.queries.positions)), self.heads)
            q, _ = self.position.rotate(q, q, cache.queries.positions, cache.queries.positions)
            return q, cache.keys, cache.values, cache.queries, cache.sources
        if self.kv_heads * self.head_dim != self.dim:
            raise UserError(
                f"SharedAttention with {self.kv_heads} kv_heads of {self.head_dim} cannot read an input of {self.dim} "
                "as keys; use it inside a SharedCache"
            )
        if cache is None:
            queries = keys = mask.places(x.shape[0], x.shape[1], x.device)
        elif isinstance(cache, KeyValueCache):
            queries, keys = cache.place(x.shape[0], x.shape[1], mask)
        else:
            raise UserError(f"SharedAttention needs the cache that its new_cache makes, not {type(cache).__name__}")
        x = self.position.embed(x, queries.positions)
        q, k = self.split(self.query(x), self.heads), self.split(x, self.kv_heads)
        v = k
        q, k = self.position.rotate(q, k, queries.positions, queries.positions)
        if isinstance(cache, KeyValueCache):
            k, v = cache.append(k, v)
        return q, k, v, queries, keys

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        pairs = time * time // (2 if self.causal == "yes" else 1)
        return linear_flops(self.query, time) + linear_flops(self.out, time) + 4 * pairs * inner


class SharedCache(Part):
    """Blocks with `SharedAttention` in the place of a stack's last layers; keys and values are made once, from what
    comes in: `K = norm(x) W_K`, `V = norm(x) W_V`.

    Args:
        layers: the blocks; those with another mixer than `SharedAttention` are refused.
        norm: of what keys and values are made from.

    Raises:
        UserError: a block that cannot read the keys.
    """

    reads_newest = True
    """Can be asked for the last token alone."""

    def __init__(self, layers: Sequence[Part], norm: Part) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList(layers), norm
        mixers: list[Any] = [getattr(layer, "mixer", None) for layer in layers]
        shapes = {(m.dim, m.kv_heads, m.head_dim) for m in mixers if isinstance(m, SharedAttention)}
        if len(shapes) != 1 or not all(isinstance(m, SharedAttention) for m in mixers):
            raise UserError(
                "the blocks that read a shared cache have mixers of one kind and size; use shared-attention"
            )
        ((dim, self.kv_heads, self.head_dim),) = shapes
        self.key = Dense(dim, self.kv_heads * self.head_dim, bias=False)
        self.value = Dense(dim, self.kv_heads * self.head_dim, bias=False)

    @property
    def position(self) -> Position:
        """By which keys are turned: the first block's."""
        found: Any = self.layers[0]
        return found.mixer.position if found.mixer is not None else NoPosition()

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        mask: AnyMask = None,
        cache: Cache | None = None,
        newest: bool = False,
    ) -> Float[Tensor, "batch kept dim"]:
        """As a block; `newest`: keys and values of all tokens, but only the last one goes through the blocks."""
        mask = Mask.of(mask)
        if cache is None:
            queries = sources = mask.places(x.shape[0], x.shape[1], x.device)
        elif isinstance(cache, KeyValueCache):
            queries, sources = cache.place(x.shape[0], x.shape[1], mask)
        else:
            raise UserError(f"SharedCache needs the cache that its new_cache makes, not {type(cache).__name__}")
        normed = self.norm(x)
        k, v = (f(normed).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for f in (self.key, self.value))
        k, _ = self.position.rotate(k, k, queries.positions, queries.positions)
        if isinstance(cache, KeyValueCache):
            k, v = cache.append(k, v)
        if newest and mask.pairs is None:
            x, queries = x[:, -1:], _last(queries)
            mask = replace(mask, pad=queries.real, segment_ids=queries.segments, positions=None, _kept={})
        shared = SharedKeys(k, v, queries, sources)
        for layer in self.layers:
            x = layer(x, mask, shared)
        return x

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> KeyValueCache:
        """One cache for all the blocks."""
        like = self.key.weight
        return KeyValueCache(batch, self.kv_heads, max_len, self.head_dim, dtype or like.dtype, device or like.device)

    def flops(self, time: int) -> int:
        """Of the maps to keys and values; the blocks count for themselves."""
        return self.key.flops(time) + self.value.flops(time)


def _last(places: Places) -> Places:
    real = None if places.real is None else places.real[:, -1:]
    segments = None if places.segments is None else places.segments[:, -1:]
    return Places(places.slots[-1:], places.positions[:, -1:], real, segments)
