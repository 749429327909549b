"""Softmax attention: the one set of projections that every kind of attention shares."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.blocked import plan
from twofold.parts.caches import Cache, KeyValueCache
from twofold.parts.linear import linear as make_linear
from twofold.parts.linear import linear_flops
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.positions import (
    Alibi,
    Learned,
    NoPosition,
    NtkStretch,
    Position,
    Rope,
    Sinusoid,
    T5Bias,
    width_of_heads,
)
from twofold.parts.rules import Places

_CAUSAL: dict[bool | None, Literal["yes", "no", "both"]] = {None: "both", True: "yes", False: "no"}


class Attention(Mixer):
    """Multi-head attention. Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; grouped keys: Ainslie et al. 2023, https://arxiv.org/abs/2305.13245

    Queries `[B, H, T, d]` meet keys and values `[B, G, S, d]`; H / G heads share a group. Submodules `query`, `key`,
    `value`, `out`. Other kinds of attention override `attend` (or `project`) and keep the rest.

    Args:
        dim: width of the states.
        heads: of the queries (H).
        kv_heads: groups of keys and values (G, default H).
        head_dim: width of a head (default dim / heads).
        position: how logits know about distance.
        bias: of query, key and value; `out_bias`: of out (default: the same).
        causal: True: always causal, whatever the mask; False: never; None: as the mask says.
        scale: of the logits (default head_dim^-0.5; T5 has 1).
        linear: kind of the projections, such as `lowrank(0.25)`.

    Raises:
        UserError: sizes that do not go together, or a position that cannot serve them.
    """

    has_qk = True
    has_matrix = True

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "plain": cls(dim, 4),
            "biased": cls(dim, 2, head_dim=6, bias=True, scale=0.3),
            "learned": cls(dim, 2, position=Learned(64, dim)),
            "sinusoid": cls(dim, 2, position=Sinusoid()),
            "alibi": cls(dim, 4, position=Alibi(4)),
            "t5": cls(dim, 4, position=T5Bias(4, 8, 20, two_way=True)),
            "causal-rope": cls(dim, 4, kv_heads=2, position=Rope(), causal=True),
            "causal-interleaved": cls(dim, 4, kv_heads=1, position=Rope(interleaved=True, fraction=0.5), causal=True),
            "causal-alibi": cls(dim, 3, head_dim=4, position=Alibi(3), causal=True),
            "two-way": cls(dim, 4, position=Rope(stretch=NtkStretch(4.0)), causal=False),
        }

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        position: Position | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        causal: bool | None = None,
        scale: float | None = None,
        linear: str = "dense",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        at_least_one(name, dim=dim, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        self.dim, self.heads = dim, heads
        self.kv_heads = heads if kv_heads is None else kv_heads
        if heads % self.kv_heads:
            raise UserError(
                f"{name}: {heads} heads do not divide into {self.kv_heads} kv_heads; "
                f"use {' or '.join(f'kv_heads={each}' for each in sorted({math.gcd(heads, self.kv_heads), heads}))}"
            )
        self.position = NoPosition() if position is None else position
        groups = 1 if kv_heads is None else kv_heads
        self.head_dim = head_dim or width_of_heads(name, dim, heads, self.position, groups)
        self.position.check(dim=dim, heads=heads, head_dim=self.head_dim)
        self.max_len = self.position.max_len
        self.causal = _CAUSAL[causal]
        self.scale = self.head_dim**-0.5 if scale is None else scale
        self.query = make_linear(dim, heads * self.head_dim, bias, linear)
        self.key = make_linear(self.memory_dim, self.kv_heads * self.head_dim, bias, linear)
        self.value = make_linear(self.memory_dim, self.kv_heads * self.head_dim, bias, linear)
        self.out = make_linear(heads * self.head_dim, dim, bias if out_bias is None else out_bias, linear)

    @property
    def memory_dim(self) -> int:
        """Width of what keys and values are made from."""
        return self.dim

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = self.rule(mask)
        q, k, v, queries, keys = self.project(x, mask, cache)
        return self.merge(self.attend(q, k, v, mask, queries, keys))

    # -- the steps, for other kinds of attention to share

    def rule(self, mask: AnyMask) -> Mask:
        """The mask as this attention obeys it."""
        mask = Mask.of(mask)
        if self.causal == "yes":
            return mask.made_causal()
        if self.causal == "no" and mask.is_causal:
            raise UserError(
                "this attention was built two-way (causal=False) and got a causal mask; build it with causal=None"
            )
        return mask

    def project(self, x: Tensor, mask: Mask, cache: Cache | None) -> tuple[Tensor, Tensor, Tensor, Places, Places]:
        """Queries `[B, H, T, d]`, keys and values `[B, G, S, d]` (those of the cache first), and where they stand."""
        if cache is None:
            queries = keys = mask.places(x.shape[0], x.shape[1], x.device)
        else:
            queries, keys = _kv(cache).place(x.shape[0], x.shape[1], mask)
        x = self.position.embed(x, queries.positions)
        q, k, v = self.maps(x)
        q, k = self.position.rotate(q, k, queries.positions, queries.positions)
        if cache is not None:
            k, v = _kv(cache).append(k, v)
        return q, k, v, queries, keys

    def maps(self, x: Float[Tensor, "batch time dim"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries `[B, H, T, d]`, keys and values `[B, G, T, d]`, before positions."""
        k, v = self.split(self.key(x), self.kv_heads), self.split(self.value(x), self.kv_heads)
        return self.split(self.query(x), self.heads), k, v

    def bias(self, queries: Places, keys: Places) -> Tensor | None:
        """What is added to the logits, `[1 or B, H or 1, T, S]`; None: nothing."""
        return self.position.bias(queries.positions, keys.positions)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        """What each head takes from the values: `[B, H, T, d]`."""
        if self.position.after_softmax:
            p = self.probabilities(q, k, mask, queries, keys)
            return p @ v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        q = self._scaled(q, queries)
        bias = self._with_counts(self.bias(queries, keys), mask)
        if bias is None:
            blocks = plan(mask, queries, keys, q.dtype)
            if blocks is not None:
                return blocks.attend(q, k, v, self.scale)
        causal, seen = mask.lower(queries, keys)
        if bias is not None:
            if causal:
                causal, seen = False, mask.dense(queries, keys)
            bias = bias.to(q.dtype)
            seen = bias if seen is None else bias.masked_fill(~seen, float("-inf"))
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=seen, is_causal=causal, scale=self.scale, enable_gqa=self.kv_heads != self.heads
        )

    def logits(self, q: Tensor, k: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        """Logits `[B, H, T, S]`, -inf where the mask forbids."""
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        logits = self._scaled(q, queries) @ k.transpose(-1, -2) * self.scale
        bias = self._with_counts(self.bias(queries, keys), mask)
        if bias is not None:
            logits = logits + bias.to(logits.dtype)
        return logits.masked_fill(~mask.dense(queries, keys), float("-inf"))

    def probabilities(self, q: Tensor, k: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        """Softmax of the logits `[B, H, T, S]`; zero in rows that see nothing."""
        logits = self.logits(q, k, mask, queries, keys)
        blind = logits.isneginf().all(-1, keepdim=True)
        p = logits.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)
        return self.position.after(p, queries.positions, keys.positions)

    def split(self, x: Float[Tensor, "batch time inner"], heads: int) -> Float[Tensor, "batch heads time d"]:
        """Features into heads."""
        return x.unflatten(-1, (heads, self.head_dim)).transpose(1, 2)

    def merge(self, heads: Float[Tensor, "batch heads time d"]) -> Float[Tensor, "batch time dim"]:
        """Heads through the output map."""
        return self.out(heads.transpose(1, 2).flatten(-2))

    @staticmethod
    def _with_counts(bias: Tensor | None, mask: Mask) -> Tensor | None:
        if mask.counts is None:
            return bias
        more = mask.counts.clamp_min(1).log()[:, None, None, :]
        return more if bias is None else bias + more

    def _scaled(self, q: Tensor, queries: Places) -> Tensor:
        scale = self.position.scale(queries.positions)
        return q if scale is None else q * scale[:, None, :, None].to(q.dtype)

    # -- the rest of the protocol

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        if self.causal == "no":
            return super().new_cache(batch, max_len, dtype, device)
        like = self.like()
        where = like.device if device is None else device
        return KeyValueCache(batch, self.kv_heads, max_len, self.head_dim, dtype or like.dtype, where)

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        maps = sum(linear_flops(part, time) for part in (self.query, self.key, self.value, self.out))
        return maps + 4 * time * time * inner // (2 if self.causal == "yes" else 1)

    def matrix(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        mask = self.rule(mask)
        q, k, _, queries, keys = self.project(x, mask, None)
        return self.probabilities(q, k, mask, queries, keys)

    def values(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads sources d"]:
        _, _, v, _, _ = self.project(x, self.rule(mask), None)
        return v.repeat_interleave(self.heads // self.kv_heads, dim=1)


def _kv(cache: Cache) -> KeyValueCache:
    if not isinstance(cache, KeyValueCache):
        raise UserError(f"attention needs the cache that its new_cache makes, not {type(cache).__name__}")
    return cache
