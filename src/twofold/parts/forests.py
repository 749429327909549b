"""Trees over texts that the network chooses itself, many at once; equal constituents may be one node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.encoders import Encoder, Side
from twofold.parts.heads import LMHead
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.part import Part
from twofold.parts.prefixes import prefix

Vectors = Float[Tensor, "nodes dim"]


class Composition(Part, abstract=True):
    """A parent from two children, and two children from a parent; every channel of `width` features alike."""

    def up(self, left: Vectors, right: Vectors) -> Vectors:
        """The parents."""
        raise NotImplementedError

    def down(self, parent: Vectors) -> tuple[Vectors, Vectors]:
        """What each parent says to its left and to its right child."""
        raise NotImplementedError


class DiagonalComposition(Composition):
    """`l σ(a_l) + r σ(a_r) + c` up, `p σ(b_l) + c_l` and `p σ(b_r) + c_r` down: 7 numbers a feature of a channel.

    Opper & Siddharth 2024, https://arxiv.org/abs/2407.17771

    Args:
        width: features of a channel.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        at_least_one("DiagonalComposition", width=width)
        self.width = width
        self.gates = nn.Parameter(torch.empty(4 * width))
        self.biases = nn.Parameter(torch.zeros(3 * width))
        if not self.gates.is_meta:
            nn.init.uniform_(self.gates, 0.6, 0.9)

    def up(self, left: Vectors, right: Vectors) -> Vectors:
        a_left, a_right, _, _ = self.gates.sigmoid().split(self.width)
        return (self._channels(left) * a_left + self._channels(right) * a_right + self.biases[: self.width]).flatten(1)

    def down(self, parent: Vectors) -> tuple[Vectors, Vectors]:
        _, _, b_left, b_right = self.gates.sigmoid().split(self.width)
        _, c_left, c_right = self.biases.split(self.width)
        p = self._channels(parent)
        return (p * b_left + c_left).flatten(1), (p * b_right + c_right).flatten(1)

    def _channels(self, x: Vectors) -> Tensor:
        return x.unflatten(1, (-1, self.width))


class LinearComposition(Composition):
    """A linear map from both children to the parent, and one back. Opper et al. 2023, https://arxiv.org/abs/2305.05588

    Args:
        width: features of a channel.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        at_least_one("LinearComposition", width=width)
        self.width = width
        self.join, self.part = Dense(2 * width, width), Dense(width, 2 * width)

    def up(self, left: Vectors, right: Vectors) -> Vectors:
        both = torch.cat([x.unflatten(1, (-1, self.width)) for x in (left, right)], -1)
        return self.join(both).flatten(1)

    def down(self, parent: Vectors) -> tuple[Vectors, Vectors]:
        left, right = self.part(parent.unflatten(1, (-1, self.width))).chunk(2, -1)
        return left.flatten(1), right.flatten(1)


@dataclass(frozen=True)
class Forest:
    """Trees over a batch of texts.

    Args:
        vectors: of every node, leaves first, children before parents, `[N, D]`.
        children: left and right of every node that is no leaf, `[N - leaves, 2]`.
        sizes: how many nodes came at a time: the leaves, then those of each round of merges.
        roots: the node of each text.
    """

    vectors: Vectors
    children: Int[Tensor, "merged two"]
    sizes: tuple[int, ...]
    roots: Int[Tensor, "texts"]

    @property
    def leaves(self) -> int:
        """How many nodes are leaves."""
        return self.sizes[0]


def grow(
    nodes: Int[Tensor, "texts time"],
    real: Bool[Tensor, "texts time"],
    leaves: Vectors,
    composition: Composition,
    dropout: float = 0.0,
) -> Forest:
    """Merges, in every text at once, the two neighbours whose vectors have the largest cosine, until one is left.

    A node is known by its two children, so texts whose leaves are shared share whatever is equal above them. Ties go to
    the pair that comes first. The choice of merges has no gradient.

    Args:
        nodes: which leaf stands where; equal numbers are one node.
        real: padding stands on the right.
        leaves: a vector for each leaf.
        dropout: share of features that are dropped after each merge.
    """
    counts, vectors = real.sum(1), leaves
    front = nodes.masked_fill(~real, 0)
    sizes, children = [len(leaves)], [torch.zeros(0, 2, dtype=torch.long, device=nodes.device)]
    known = torch.zeros(0, dtype=torch.long, device=nodes.device)
    rows = torch.arange(len(nodes), device=nodes.device)
    base = len(leaves) + int((counts - 1).clamp_min(0).sum()) + 1  # more than there will be nodes
    while int(counts.max()) > 1:
        seen = F.normalize(vectors.detach(), dim=-1)[front]
        alike = (seen[:, :-1] * seen[:, 1:]).sum(-1)
        place = torch.arange(front.shape[1] - 1, device=nodes.device)
        alike = alike.masked_fill(place >= (counts - 1)[:, None], float("-inf"))
        best = (alike == alike.amax(1, keepdim=True)).int().argmax(1)
        merging = counts > 1
        pairs = torch.stack([front[rows, best], front[rows, best + 1]], 1)
        keys = pairs[:, 0] * base + pairs[:, 1]
        fresh = torch.unique(keys[merging & ~torch.isin(keys, known)])
        if len(fresh):
            left, right = fresh // base, fresh % base
            made = composition.up(vectors[left], vectors[right])
            vectors = torch.cat([vectors, F.dropout(made, dropout, dropout > 0)])
            children.append(torch.stack([left, right], 1))
            sizes.append(len(fresh))
            known = torch.cat([known, fresh])
        order = known.argsort()
        parent = sizes[0] + order[torch.searchsorted(known[order], keys).clamp_max(len(known) - 1)]
        after = torch.arange(front.shape[1] - 1, device=nodes.device)[None]
        shifted = front.gather(1, after + (after > best[:, None]))
        shifted[rows, best] = parent
        front = torch.where(merging[:, None], shifted, front[:, :-1])
        counts = counts - merging.long()
    return Forest(vectors, torch.cat(children), tuple(sizes), front[:, 0])


def spread(forest: Forest, composition: Composition, dropout: float = 0.0) -> Vectors:
    """Vectors from the roots down: a root starts from its own; a node with several parents takes the mean of what they
    say."""
    count, dim = forest.vectors.shape
    told = torch.zeros_like(forest.vectors).index_add(0, forest.roots.unique(), forest.vectors[forest.roots.unique()])
    heard = torch.zeros(count, 1, dtype=told.dtype, device=told.device).index_fill(0, forest.roots, 1.0)
    end = count
    done = []
    for size in reversed(forest.sizes[1:]):
        begin = end - size
        own = told[begin:end] / heard[begin:end].clamp_min(1)
        done.append(own)
        children = forest.children[begin - forest.leaves : end - forest.leaves]
        said = [F.dropout(x, dropout, dropout > 0) for x in composition.down(own)]
        index = children.T.flatten()
        told = told.index_add(0, index, torch.cat(said).to(told.dtype))
        heard = heard.index_add(0, index, torch.ones(len(index), 1, dtype=told.dtype, device=told.device))
        end = begin
    return torch.cat([told[:end] / heard[:end].clamp_min(1), *reversed(done)]).view(count, dim)


class TreeEncoder(Encoder):
    """Vectors of texts as the roots of trees that it builds itself; by itself the encoder of both sides.

    Args:
        vocab: number of tokens.
        dim: width of the vectors, a multiple of the composition's.
        composition: how parents and children follow from one another.
        dropout: on leaves, merges and messages, while training.
    """

    def __init__(self, vocab: int, dim: int, composition: Composition, dropout: float = 0.1) -> None:
        super().__init__()
        at_least_one("TreeEncoder", vocab=vocab, dim=dim)
        width = getattr(composition, "width", 1)
        if dim % width:
            raise UserError(
                f"TreeEncoder: dim {dim} is no multiple of the channels' {width}; use {dim // width * width}"
            )
        self.vocab, self.dim, self.composition, self.dropout = vocab, dim, composition, dropout
        self.leaves = nn.Parameter(torch.empty(vocab, dim))
        if not self.leaves.is_meta:
            nn.init.uniform_(self.leaves, -0.1, 0.1)
        self.head = LMHead(dim, vocab, bias=True)

    def tower(self, side: Side) -> TreeEncoder:  # type: ignore[override]
        """Itself: one network for queries and documents."""
        return self

    def cut(self, vectors: Float[Tensor, "*batch dim"], width: int) -> Float[Tensor, "*batch width"]:
        """The first `width` coordinates, at unit length again."""
        return prefix(vectors, width, normalise=True)

    def forest(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"], shared: bool
    ) -> tuple[Forest, Int[Tensor, "leaves"]]:
        """Trees over the texts, and the token of each leaf.

        Args:
            shared: equal tokens, and so equal constituents, are one node anywhere in the batch; else each text has
                nodes of its own.
        """
        if shared:
            tokens, place = ids[real].unique(return_inverse=True)
        else:
            tokens = ids[real]
            place = torch.arange(len(tokens), device=ids.device)
        nodes = torch.zeros_like(ids)
        nodes[real] = place
        rate = self.dropout if self.training else 0.0
        leaves = F.dropout(self.leaves[tokens], rate, rate > 0)
        return grow(nodes, real, leaves, self.composition, rate), tokens

    def told(self, forest: Forest) -> Vectors:
        """Vectors from the roots down."""
        return spread(forest, self.composition, self.dropout if self.training else 0.0)

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch dim"]:
        """Roots at unit length."""
        mask = torch.ones_like(ids, dtype=torch.bool) if real is None else Mask.of(real).real(ids)
        forest, _ = self.forest(ids, mask, shared=True)
        return F.normalize(forest.vectors[forest.roots], dim=-1)
