"""Blocks that read a long text as few rows: important tokens as they are, the rest as means of segments.

Zeng, Hawkins, Hong, Zhang, Pappas, Singh & Zheng 2023, "Vcc: Scaling Transformers to 128K Tokens or More by
Prioritizing Important Tokens", https://arxiv.org/abs/2305.04241
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from twofold.errors import UserError, unknown
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache
from twofold.parts.linear import linear_flops
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import AnyMask
from twofold.parts.part import Part
from twofold.parts.rules import Places
from twofold.parts.segment_tree import SegmentTree, nested
from twofold.parts.stack import Block

SCORES = ("sum", "max")


@dataclass(frozen=True)
class Splits:
    """How many segments of one size are split: in each row `[B]`, and the least and the most of them."""

    each: Tensor
    least: int
    most: int


@dataclass(frozen=True)
class Kept:
    """Segments of one size that become rows: their numbers, which of them count, and their means."""

    level: int
    nodes: Int[Tensor, "batch few"]
    real: Bool[Tensor, "batch few"]
    means: Float[Tensor, "batch few dim"]


@dataclass(frozen=True)
class Important:
    """The states of important tokens `[B, V, D]`, their positions, and which of them are there."""

    states: Tensor
    positions: Tensor
    real: Tensor


class Vcc(Part):
    """Two-way blocks that read the first and the last few tokens of a text whole, and the rest as about `rows` means.

    In each block segments of the coarsest size are scored by how much the important tokens attend to their means,
    the best are split into segments of the next size, and so on. The block runs on the important tokens P and the means
    SC, and what it changed of a mean is added to all tokens of that segment: `C + S†(SC' − SC)`. The choice has no
    gradient, the means have. One tree serves all the blocks, so that only the first and the last touch every token.

    Args:
        layers: blocks of full attention.
        rows: means in a text; shorter ones are read whole. There is at least one for each of the coarsest segments.
        sizes: of segments, falling; each divides the one before. Without a 1 at the end no token is read by itself.
        first, last: how many tokens at either end are important. Padding does not count.
        count_bias: a mean's logit as a key grows by the logarithm of the tokens that it stands for.
        score: `sum`: over heads and important tokens, of exp(logit); `max`: the largest.

    Raises:
        UserError: no important tokens, a block without full two-way attention; on use, a mask of more than padding.
    """

    def __init__(
        self,
        layers: Sequence[Part],
        rows: int = 128,
        sizes: Sequence[int] = (128, 16, 1),
        first: int = 1,
        last: int = 0,
        count_bias: bool = True,
        score: str = "sum",
    ) -> None:
        super().__init__()
        at_least_one("Vcc", rows=rows)
        if not layers:
            raise UserError("Vcc has no blocks; give at least one")
        for layer in layers:
            if reason := unfit(layer):
                raise UserError(f"Vcc cannot hold this block: {reason}")
        if first < 0 or last < 0 or first + last < 1:
            raise UserError(
                f"Vcc: first={first} and last={last} name no important tokens; say how many there are at the start or "
                "the end, such as first=1 for [CLS]"
            )
        if score not in SCORES:
            raise unknown("score", score, SCORES)
        self.layers = nn.ModuleList(layers)
        self.rows, self.sizes, self.first, self.last = rows, nested(sizes), first, last
        self.count_bias, self.score = count_bias, score

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = self._only_padding(Mask.of(mask), cache)
        places, real = mask.places(x.shape[0], x.shape[1], x.device), mask.real(x)
        few = self.first + self.last
        if x.shape[1] <= few:
            for layer in self.layers:
                x = layer(x, mask)
            return x
        rank, total = real.cumsum(1), real.sum(1, keepdim=True)
        important = real & ((rank <= self.first) | (rank > total - self.last))
        # Important tokens first, then the others, then padding, each in their order.
        order = torch.where(important, 0, torch.where(real, 1, 2)).argsort(dim=1, stable=True)
        wide = order[..., None].expand(-1, -1, x.shape[2])
        seen, where = real.gather(1, order), places.positions.expand(len(x), -1).gather(1, order)
        states = x.gather(1, wide)
        vip = Important(states[:, :few], where[:, :few], seen[:, :few])
        tree_sizes = self.sizes if self.sizes[-1] == 1 else (*self.sizes, 1)
        tree = SegmentTree(states[:, few:], tree_sizes, seen[:, few:])
        middle = SegmentTree(where[:, few:, None].float(), tree_sizes, seen[:, few:])
        plan = [Splits(each, int(each.min()), int(each.max())) for each in self.plan(seen[:, few:].sum(1))]
        for layer in self.layers:
            vip = self._layer(cast(Block, layer), vip, tree, middle, plan)
        new = torch.cat((vip.states, tree.leaves()), 1)
        return torch.empty_like(new).scatter(1, wide, new)

    def _layer(
        self, block: Block, vip: Important, tree: SegmentTree, middle: SegmentTree, plan: Sequence[Splits]
    ) -> Important:
        """One block on important tokens and means; the tree is changed in place."""
        kept = self._cut(block, vip, tree, middle, plan)
        rows = torch.cat([vip.states, *(part.means for part in kept)], 1)
        real = torch.cat([vip.real, *(part.real for part in kept)], 1)
        positions = torch.cat([vip.positions, *(_rounded(middle, part.level, part.nodes) for part in kept)], 1)
        counts = None
        if self.count_bias:
            held = [tree.counts[part.level].gather(1, part.nodes) for part in kept]
            counts = torch.cat([torch.ones_like(vip.positions, dtype=rows.dtype), *held], 1)
        mask = replace(Mask.padding(real), positions=positions, counts=counts).for_pass()
        new = block(rows, mask)
        width = vip.states.shape[1]
        changes = (new - rows)[:, width:].split([part.nodes.shape[1] for part in kept], 1)
        for part, change in zip(kept, changes, strict=True):
            tree.add(part.level, part.nodes, change * part.real[..., None])
        return Important(new[:, :width], vip.positions, vip.real)

    def _cut(
        self, block: Block, vip: Important, tree: SegmentTree, middle: SegmentTree, plan: Sequence[Splits]
    ) -> list[Kept]:
        """Which segments of which size stand for the text in one block: every token is in exactly one."""
        real = tree.counts[0] > 0
        nodes = torch.arange(real.shape[1], device=real.device).expand(len(real), -1)
        kept: list[Kept] = []
        for level, splits in enumerate(plan):
            found = Kept(level, nodes, real, tree.at(level, nodes))
            if splits.most == 0:
                return [*kept, found]
            count = nodes.shape[1]
            if bool((splits.each >= real.sum(1)).all()):  # nothing to choose
                order = torch.arange(count, device=nodes.device).expand_as(nodes)
            else:
                order = self._scores(block, vip, found, middle).argsort(dim=1, descending=True, stable=True)
            chosen, rest = order[:, : splits.most], order[:, splits.least :]
            stays = torch.arange(splits.least, count, device=nodes.device) >= splits.each[:, None]
            means = found.means.gather(1, rest[..., None].expand(-1, -1, found.means.shape[2]))
            kept.append(Kept(level, nodes.gather(1, rest), real.gather(1, rest) & stays, means))
            ratio = self.sizes[level] // self.sizes[level + 1]
            inside = torch.arange(ratio, device=nodes.device)
            split = torch.arange(splits.most, device=nodes.device) < splits.each[:, None]
            nodes = (nodes.gather(1, chosen)[..., None] * ratio + inside).flatten(1)
            real = split.repeat_interleave(ratio, 1) & (tree.counts[level + 1].gather(1, nodes) > 0)
        level = len(plan)
        return [*kept, Kept(level, nodes, real, tree.at(level, nodes))]

    @torch.no_grad()
    def _scores(
        self, block: Block, vip: Important, found: Kept, middle: SegmentTree
    ) -> Float[Tensor, "batch segments"]:
        """The logarithm of how much important tokens attend to each segment's mean; -inf where there is none."""
        mixer = cast(Attention, block.mixer)
        places = _rounded(middle, found.level, found.nodes)
        asked, given = (block.wiring.reads(block, states) for states in (vip.states, found.means))
        q = mixer.split(mixer.query(mixer.position.embed(asked, vip.positions)), mixer.heads)
        k = mixer.split(mixer.key(mixer.position.embed(given, places)), mixer.kv_heads)
        q, k = mixer.position.rotate(q, k, vip.positions, places)
        queries = Places(torch.arange(q.shape[2], device=q.device), vip.positions, vip.real)
        keys = Places(torch.arange(k.shape[2], device=k.device), places, found.real)
        logits = mixer.logits(q, k, Mask.bidirectional(), queries, keys)
        logits = logits.masked_fill(~vip.real[:, None, :, None], float("-inf"))
        return logits.logsumexp((1, 2)) if self.score == "sum" else logits.amax((1, 2))

    def plan(self, tokens: Int[Tensor, " batch"]) -> list[Int[Tensor, " batch"]]:
        """How many segments of each size but the last are split, for texts of so many tokens that are not important.

        Each size gets an even share of the rows that are left; a text of no more than `rows` tokens is split whole.
        """
        nodes = -(-tokens // self.sizes[0])
        left = (self.rows - nodes).clamp_min(0)
        found = []
        for level, (size, finer) in enumerate(pairwise(self.sizes)):
            ratio = size // finer
            share = left // (len(self.sizes) - 1 - level) // (ratio - 1)
            split = torch.where(tokens <= self.rows, nodes, torch.minimum(nodes, share))
            left = (left - split * (ratio - 1)).clamp_min(0)
            nodes = split * ratio
            found.append(split)
        return found

    def reads(self, length: int) -> int:
        """Rows that the blocks read of a text of so many tokens."""
        few = min(length, self.first + self.last)
        rest = length - few
        rows = -(-rest // self.sizes[0])
        for (size, finer), split in zip(pairwise(self.sizes), self.plan(torch.tensor([rest])), strict=True):
            rows += int(split) * (size // finer - 1)
        return few + min(rows, rest)

    def flops(self, time: int) -> int:
        """Of the choice of segments; the blocks count for themselves."""
        few, total = min(time, self.first + self.last), 0
        nodes = -(-(time - few) // self.sizes[0])
        for level, split in enumerate(int(n) for n in self.plan(torch.tensor([time - few]))):
            if 0 < split < nodes:
                for layer in self.layers:
                    mixer = cast(Attention, cast(Block, layer).mixer)
                    maps = linear_flops(mixer.query, few) + linear_flops(mixer.key, nodes)
                    total += maps + 2 * few * nodes * mixer.heads * mixer.head_dim
            nodes = split * (self.sizes[level] // self.sizes[level + 1])
        return total

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        raise UserError("Vcc reads a whole text in both directions; it has no cache and cannot generate")

    @staticmethod
    def _only_padding(mask: Mask, cache: Cache | None) -> Mask:
        if cache is not None:
            raise UserError("Vcc reads a whole text in both directions; go without a cache")
        if mask.is_causal:
            raise UserError("Vcc is two-way, and the mask is causal; use it in an encoder")
        if mask.rules or mask.pairs is not None or mask.segment_ids is not None:
            raise UserError("Vcc reads one whole text a row; give a mask of padding alone, no windows or packed texts")
        return mask


def unfit(layer: object) -> str:
    """Why a layer cannot stand in a `Vcc`; empty where it can."""
    if not isinstance(layer, Block):
        return f"it is a {type(layer).__name__}, not a block"
    if type(layer.mixer) is not Attention:
        return f"its mixer is {type(layer.mixer).__name__}, and segments are chosen by full attention; leave it outside"
    return "its attention is causal; build it with causal=None" if layer.mixer.causal == "yes" else ""


def _rounded(middle: SegmentTree, level: int, nodes: Tensor) -> Tensor:
    """Where segments are: the mean of their tokens' positions."""
    return middle.at(level, nodes)[..., 0].round().long()
