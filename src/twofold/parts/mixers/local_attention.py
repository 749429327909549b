"""Attention to neighbours only."""

from __future__ import annotations

import torch

from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, WindowCache
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.positions import Position, Rope


class LocalAttention(Attention):
    """Attention to positions less than `window` away: on both sides, or (causal) the last `window` positions.

    Works off blocks of neighbours where the input is long: O(T · window). Beltagy et al. 2020,
    https://arxiv.org/abs/2004.05150

    Args:
        window: how far it sees, oneself included; ModernBERT's "window 128" (|i − j| ≤ 64) is 65.
    """

    spans = ("window",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "rope": cls(dim, 4, window=3, position=Rope()),
            "causal": cls(dim, 4, window=4, kv_heads=2, position=Rope(), causal=True),
        }

    def __init__(
        self,
        dim: int,
        heads: int,
        window: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        position: Position | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        causal: bool | None = None,
        scale: float | None = None,
        linear: str = "dense",
    ) -> None:
        super().__init__(dim, heads, kv_heads, head_dim, position, bias, out_bias, causal, scale, linear)
        at_least_one("LocalAttention", window=window)
        self.window = window

    def rule(self, mask: AnyMask) -> Mask:
        return super().rule(mask).within(self.window)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        if self.causal == "no":
            return super().new_cache(batch, max_len, dtype, device)
        like = self.like()
        where = like.device if device is None else device
        return WindowCache(batch, self.kv_heads, max_len, self.head_dim, self.window, dtype or like.dtype, where)

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        seen = min(time, self.window if self.causal == "yes" else 2 * self.window - 1)
        pairs = time * time // (2 if self.causal == "yes" else 1)
        return super().flops(time) - 4 * inner * pairs + 4 * inner * min(pairs, time * seen)
