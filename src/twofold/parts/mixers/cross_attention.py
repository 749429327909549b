"""Attention to another stack's states."""

from __future__ import annotations

import torch
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.caches import Cache, MemoryCache
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.rules import Places


class CrossAttention(Attention):
    """Attention from the states to `mask.memory` `[B, S, D']`; every query sees all real memory. Of none comes nothing.

    A block of an encoder–decoder is two: `Block(Attention)` without a channel mixer, then `Block(CrossAttention, FFN)`.
    The cache keeps the memory's keys and values from the first call on.

    Args:
        memory_dim: width D' of the memory (default dim).

    Raises:
        UserError: on use, without a memory.
    """

    needs_memory = True

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, 4), "grouped": cls(dim, 4, kv_heads=2, head_dim=6, bias=True)}

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        memory_dim: int | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        scale: float | None = None,
        linear: str = "dense",
    ) -> None:
        self._memory_dim = dim if memory_dim is None else memory_dim
        super().__init__(dim, heads, kv_heads, head_dim, None, bias, out_bias, None, scale, linear)
        self.causal = "yes"  # the memory is the same for all that comes

    @property
    def memory_dim(self) -> int:
        return self._memory_dim

    def rule(self, mask: AnyMask) -> Mask:
        return Mask.of(mask)

    def project(self, x: Tensor, mask: Mask, cache: Cache | None) -> tuple[Tensor, Tensor, Tensor, Places, Places]:
        if cache is not None and not isinstance(cache, MemoryCache):
            raise UserError("CrossAttention needs the cache that its new_cache makes")
        mask.check(x.shape[0], x.shape[1])
        q = self.split(self.query(x), self.heads)
        slots = torch.arange(x.shape[1], device=x.device)
        queries = Places(slots, slots[None])
        if cache is not None and cache.keys is not None and cache.values is not None:
            k, v, real = cache.keys, cache.values, cache.pad
        else:
            if mask.memory is None:
                raise UserError("CrossAttention has nothing to look at; give mask & Mask.remember(memory)")
            k = self.split(self.key(mask.memory), self.kv_heads)
            v, real = self.split(self.value(mask.memory), self.kv_heads), mask.memory_pad
        if cache is not None:
            cache.keys, cache.values, cache.pad = k, v, real
            cache.length += x.shape[1]
        sources = torch.arange(k.shape[2], device=x.device)
        return q, k, v, queries, Places(sources, sources[None], real)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        if not k.shape[2]:
            return torch.zeros_like(q)
        return super().attend(q, k, v, Mask(), queries, keys)

    def logits(self, q: Tensor, k: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        return super().logits(q, k, Mask(), queries, keys)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        return MemoryCache()
