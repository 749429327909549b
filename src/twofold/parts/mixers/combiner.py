"""Full attention at less than quadratic cost: near positions directly, the others through their regions.

Ren, Dai, Dai, Yang, Leskovec, Schuurmans & Dai 2021, "Combiner: Full Attention Transformer with Sparse Computation
Cost", https://arxiv.org/abs/2107.05768
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, KeyValueCache
from twofold.parts.linear import Dense, linear_flops
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.norms import LayerNorm
from twofold.parts.positions import Position, Rope
from twofold.parts.rules import CAUSAL, Places


@dataclass(frozen=True)
class Regions:
    """Sources cut into regions.

    Attributes:
        of: the region of each source, int `[B, S]`.
        count: regions, R.
        seen: which of them each query reads, bool `[B, 1, T, R]`; made when asked for.
        near: which sources it reads directly, bool `[B, 1, T, S]`; likewise.
    """

    of: Tensor
    count: int
    seen: Callable[[], Tensor]
    near: Callable[[], Tensor]


class Combiner(Attention):
    """Attention as an expectation in two steps (the paper's fixed layout): each query sees the positions of its own
    block directly, and every other block as one region. One softmax weighs positions and regions; inside a region,
    weights `softmax_j(q_region · k_j)` do not depend on the query.

    A region's query and key are the maxima over its tokens of a normed linear map of their queries and keys.

    Args:
        width: of a block; about √T costs least.

    Raises:
        UserError: an odd width of heads; on use, a mask that is neither causal nor two-way.
    """

    spans = ("width",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"two-way": cls(dim, 4, 4, position=Rope()), "causal": cls(dim, 2, 3, position=Rope(), causal=True)}

    def __init__(
        self,
        dim: int,
        heads: int,
        width: int = 16,
        head_dim: int | None = None,
        position: Position | None = None,
        causal: bool | None = None,
    ) -> None:
        super().__init__(dim, heads, None, head_dim, position, causal=causal)
        at_least_one("Combiner", width=width)
        if self.head_dim % 2:
            fit = f"dim={dim + heads}" if head_dim is None else f"head_dim={head_dim + 1}"
            raise UserError(f"Combiner: heads are {self.head_dim} wide, and must be of even width; use {fit}")
        if (
            self.position.after_softmax
            or self.position.bias(torch.zeros(1, 1).long(), torch.zeros(1, 1).long()) is not None
        ):
            name = type(self.position).__name__
            raise UserError(
                f"position {name} says something of every pair, and Combiner looks at few; use rope, log-scale or none"
            )
        self.width = width
        self.region_query, self.region_key = (Dense(self.head_dim, self.head_dim, bias=False) for _ in range(2))
        self.query_norm, self.key_norm = LayerNorm(self.head_dim), LayerNorm(self.head_dim)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = self.rule(mask)
        q, k, v, region_k, inside, regions = self.gathered(x, mask, cache)
        summary = _summed(inside[..., None] * v, regions.of, region_k.shape[2])
        if cache is None and mask.pad is None and mask.segment_ids is None and mask.positions is None:
            return self.merge(self.folded(q, k, v, region_k, summary, mask.is_causal))
        near, far = self.weighed(q, k, region_k, regions)
        return self.merge(near @ v + far @ summary)

    def folded(self, q: Tensor, k: Tensor, v: Tensor, region_k: Tensor, summary: Tensor, causal: bool) -> Tensor:
        """The mixed values `[B, H, T, d]` of a whole sequence without padding, block by block: O(T (width + R))."""
        time, count = q.shape[2], region_k.shape[2]
        rest = count * self.width - time
        q, k, v = (F.pad(t, (0, 0, 0, rest)).unflatten(2, (count, self.width)) for t in (q, k, v))
        slots = torch.arange(count * self.width, device=q.device).view(count, self.width)
        near = (slots < time)[:, None, :].expand(count, self.width, self.width)
        near = near & (slots[:, None, :] <= slots[:, :, None]) if causal else near
        number = torch.arange(count, device=q.device)
        far = number[None] < number[:, None] if causal else number[None] != number[:, None]
        seen = torch.cat((near, far[:, None].expand(count, self.width, count)), -1)
        logits = torch.cat((q @ k.transpose(-1, -2), q @ region_k[:, :, None].transpose(-1, -2)), -1) * self.scale
        p = logits.masked_fill(~seen, float("-inf")).softmax(-1)
        direct, through = p.split((self.width, count), -1)
        return (direct @ v + through @ summary[:, :, None]).flatten(2, 3)[:, :, :time]

    def gathered(
        self, x: Tensor, mask: Mask, cache: Cache | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Regions]:
        """New queries `[B, H, T, d]`, all keys and values `[B, H, S, d]`, the regions' keys `[B, H, R, d]`, each
        source's weight in its region `[B, H, S]`, and the regions."""
        if cache is None:
            queries = keys = mask.places(x.shape[0], x.shape[1], x.device)
        elif isinstance(cache, KeyValueCache):
            queries, keys = cache.place(x.shape[0], x.shape[1], mask)
        else:
            raise UserError(f"Combiner needs the cache that its new_cache makes, not {type(cache).__name__}")
        x = self.position.embed(x, queries.positions)
        q, k, v = (self.split(cast(Tensor, f(x)), self.heads) for f in (self.query, self.key, self.value))
        q, k = self.position.rotate(q, k, queries.positions, queries.positions)
        sources = q
        if isinstance(cache, KeyValueCache):
            held = torch.cat(cache.append(*torch.cat((q, k, v), -1).chunk(2, -1)), -1)
            sources, k, v = held.chunk(3, -1)
        regions = self.regions(len(x), mask, queries, keys)
        count = regions.count
        region_q = _largest(self.query_norm(self.region_query(sources)), regions.of, count)
        region_k = _largest(self.key_norm(self.region_key(k)), regions.of, count)
        index = regions.of[:, None, :, None].expand_as(k)
        inside = _softmax_within((region_q.gather(2, index) * k).sum(-1) * self.scale, regions.of, count)
        return self._scaled(q, queries), k, v, region_k, inside, regions

    def weighed(self, q: Tensor, k: Tensor, region_k: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """Weights of positions `[B, H, T, S]` and of regions `[B, H, T, R]`, over all pairs, whatever the mask."""
        logits = torch.cat((q @ k.transpose(-1, -2), q @ region_k.transpose(-1, -2)), -1) * self.scale
        seen = torch.cat((regions.near(), regions.seen()), -1)
        blind = ~seen.any(-1, keepdim=True)
        p = logits.masked_fill(~(seen | blind), float("-inf")).softmax(-1).masked_fill(blind, 0)
        near, far = p.split((k.shape[2], regions.count), -1)
        return near, far

    def regions(self, batch: int, mask: Mask, queries: Places, keys: Places) -> Regions:
        """Which regions there are, and who reads what. A region is one block of one document of one row."""
        if mask.pairs is not None or any(rule != CAUSAL for rule in mask.rules):
            raise UserError("Combiner reads everything through regions; use it with a causal or a two-way mask")

        def make() -> Regions:
            def codes(places: Places) -> tuple[Tensor, Tensor]:
                block = places.positions // self.width
                document = torch.zeros_like(block) if places.segments is None else places.segments
                return block.expand(batch, -1), document.expand(batch, -1)

            (block_q, document_q), (block, document) = codes(queries), codes(keys)
            real = torch.ones_like(block, dtype=torch.bool) if keys.real is None else keys.real.expand(batch, -1)
            many = int(block.max()) + 1
            code = torch.where(real, document * many + block, (int(document.max()) + 1) * many)
            found, of = code.unique(return_inverse=True)
            mine, told = block_q[..., None], document_q[..., None]

            def seen() -> Tensor:
                present = torch.zeros(batch, len(found), dtype=torch.bool, device=code.device).scatter(1, of, real)
                theirs, document = (found % many)[None, None], (found // many)[None, None]
                apart = theirs < mine if mask.is_causal else theirs != mine
                return (apart & (document == told) & present[:, None])[:, None]

            def near() -> Tensor:
                inside = (block[:, None] == mine) & (document[:, None] == told) & real[:, None]
                if mask.is_causal:
                    inside = inside & (keys.slots[None, :] <= queries.slots[:, None])
                return inside[:, None]

            return Regions(of, len(found), seen, near)

        return cast(Regions, mask.keep(("regions", self.width, queries, keys), make))

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        """Remembers queries too, from which those of regions are made: half of all three as keys, half as values."""
        if self.causal == "no":
            return super().new_cache(batch, max_len, dtype, device)
        like = self.like()
        where = like.device if device is None else device
        return KeyValueCache(batch, self.heads, max_len, 3 * self.head_dim // 2, dtype or like.dtype, where)

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        maps = sum(linear_flops(part, time) for part in (self.query, self.key, self.value, self.out))
        pooled = 2 * self.heads * self.region_query.flops(time) + 4 * time * inner
        return maps + pooled + 4 * inner * time * (min(self.width, time) + -(-time // self.width))

    def matrix(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        """The full attention that positions and regions stand for."""
        q, k, _, region_k, inside, regions = self.gathered(x, self.rule(mask), None)
        near, far = self.weighed(q, k, region_k, regions)
        index = regions.of[:, None, None].expand(*far.shape[:3], k.shape[2])
        return near + far.gather(-1, index) * inside[..., None, :]

    def values(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads sources d"]:
        return self.gathered(x, self.rule(mask), None)[2]


def _largest(x: Tensor, of: Tensor, count: int) -> Tensor:
    """The largest of each feature in each region: `[B, H, S, d]` → `[B, H, R, d]`; 0 in empty ones."""
    index = of[:, None, :, None].expand_as(x)
    return x.new_zeros(*x.shape[:2], count, x.shape[3]).scatter_reduce(2, index, x, "amax", include_self=False)


def _summed(x: Tensor, of: Tensor, count: int) -> Tensor:
    """The sum over each region: `[B, H, S, d]` → `[B, H, R, d]`."""
    index = of[:, None, :, None].expand_as(x)
    return x.new_zeros(*x.shape[:2], count, x.shape[3]).scatter_add(2, index, x)


def _softmax_within(logits: Tensor, of: Tensor, count: int) -> Tensor:
    """Softmax over the sources of each region, `[B, H, S]`."""
    index = of[:, None].expand_as(logits)
    zeros = logits.new_zeros(*logits.shape[:2], count)
    top = zeros.scatter_reduce(2, index, logits.detach(), "amax", include_self=False)
    e = (logits - top.gather(2, index)).exp()
    return e / zeros.scatter_add(2, index, e).gather(2, index)
