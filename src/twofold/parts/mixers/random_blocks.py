"""Causal attention to a few blocks of keys, drawn at random with chances that fall with distance."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.mixers.sparse_attention import RuledAttention
from twofold.parts.positions import Position, Rope
from twofold.parts.rules import Places, Rule


@functools.lru_cache(maxsize=4096)
def draw(block: int, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The blocks that a block of queries sees, and each one's inclusion probability; the same every time.

    Its own block and the first are always among them. The others are drawn with chances in proportion to 1/(1 + δ), δ
    the distance in blocks, by systematic sampling, so that inclusion probabilities are exact: min(1, c/(1 + δ)), which
    sum to the number drawn.
    """
    distance = block - np.arange(block + 1)
    weight = 1.0 / (1 + distance)
    chance = np.zeros(block + 1)
    chance[[0, block]] = 1.0
    while (left := min(count, block + 1) - (chance == 1).sum()) > 0:
        free = chance < 1
        chance[free] = weight[free] * left / weight[free].sum()
        if chance.max() <= 1 + 1e-12:
            break
        chance[chance > 1 - 1e-12] = 1.0
    offset = np.random.default_rng((seed, block)).random()
    upto = np.floor(np.cumsum(np.where(chance < 1, chance, 0.0)) + offset + 1e-9)
    drawn = np.diff(upto, prepend=np.floor(offset + 1e-9)) > 0
    chosen = np.flatnonzero((chance == 1) | (drawn & (chance < 1)))
    return chosen, chance[chosen]


@functools.lru_cache(maxsize=64)
def table(count: int, seed: int, blocks: int) -> tuple[Tensor, Tensor]:
    """Which blocks see which, bool `[blocks, blocks]`, and −ln of each one's inclusion probability."""
    seen, correction = torch.zeros(blocks, blocks, dtype=torch.bool), torch.zeros(blocks, blocks)
    for block in range(blocks):
        chosen, chance = draw(block, count, seed)
        seen[block, chosen] = True
        correction[block, chosen] = -torch.from_numpy(chance).log().float()
    return seen, correction


@dataclass(frozen=True)
class Drawn(Rule):
    """Positions of the blocks of `width` that were drawn for the query's block, `count` of them."""

    width: int
    count: int
    seed: int

    def at(self, queries: Places, keys: Places, which: int) -> Tensor:
        """What the table says of each pair, `[1 or B, T, S]`; False or 0 for blocks ahead."""
        q, k = queries.positions // self.width, keys.positions // self.width
        blocks = 1 + int(torch.maximum(q.max(), k.max()))
        return table(self.count, self.seed, blocks)[which].to(q.device)[q[:, :, None], k[:, None, :]]

    def pairs(self, queries: Places, keys: Places) -> Tensor:
        return self.at(queries, keys, 0)


class RandomBlocks(RuledAttention):
    """Always-causal attention in which each block of queries meets `count` blocks of keys (PrFlashAttention).

    Its own block, the first block, and others drawn with chances in proportion to 1/(1 + distance). The draw depends on
    a seed and the block's number alone, so outputs repeat. Li 2024, https://arxiv.org/abs/2410.18441

    Args:
        width: of a block.
        count: blocks of keys that a block of queries meets, at least 2; as many as there are: full attention.
        seed: of the draw.
        corrected: adds −ln of the inclusion probability to the logits, so that sums over all keys are unbiased.
    """

    spans = ("width",)

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "rope": cls(dim, 4, 4, 2, position=Rope()),
            "corrected": cls(dim, 4, 3, 2, kv_heads=2, corrected=True),
        }

    def __init__(
        self,
        dim: int,
        heads: int,
        width: int,
        count: int,
        kv_heads: int | None = None,
        position: Position | None = None,
        seed: int = 0,
        corrected: bool = False,
    ) -> None:
        super().__init__(dim, heads, kv_heads, position=position, causal=True)
        at_least_one("RandomBlocks", width=width)
        if count < 2:
            raise UserError(f"RandomBlocks: count is {count}; use at least 2, one's own block and another")
        self.width, self.count, self.corrected = width, count, corrected
        self.drawn = Drawn(width, count, seed)

    @property
    def seen(self) -> Rule:
        return self.drawn

    def bias(self, queries: Places, keys: Places) -> Tensor | None:
        below = super().bias(queries, keys)
        if not self.corrected:
            return below
        own = self.drawn.at(queries, keys, 1)[:, None]
        return own if below is None else own + below

    def folded(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, places: Places) -> Tensor | None:
        if self.corrected or self.bias(places, places) is not None:
            return None
        time = q.shape[2]
        blocks = -(-time // self.width)
        rows = [draw(block, self.count, self.drawn.seed)[0] for block in range(blocks)]
        most = max(map(len, rows))
        index = torch.tensor([[*row, *[blocks] * (most - len(row))] for row in rows], device=q.device)
        cut = [F.pad(x, (0, 0, 0, blocks * self.width - time)).unflatten(2, (blocks, self.width)) for x in (q, k, v)]
        packed = [F.pad(x, (0, 0, 0, 0, 0, 1))[:, :, index].flatten(3, 4) for x in cut[1:]]  # [B, G, blocks, m·w, d]
        places_k = (index[..., None] * self.width + torch.arange(self.width, device=q.device)).flatten(1)
        places_q = torch.arange(blocks * self.width, device=q.device).view(blocks, self.width)
        allowed = (places_k[:, None] <= places_q[..., None]) & (index != blocks).repeat_interleave(self.width, 1)[
            :, None
        ]
        groups = self.heads // self.kv_heads
        keys, values = (x.repeat_interleave(groups, 1) for x in packed)
        out = F.scaled_dot_product_attention(cut[0], keys, values, attn_mask=allowed, scale=self.scale)
        return out.flatten(2, 3)[:, :, :time]
