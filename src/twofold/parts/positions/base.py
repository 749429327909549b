"""Where a token is, told to a network: one part with six hooks, each doing nothing by default.

Positions arrive as int `[1 or B, T]`, counted over real tokens. Whatever can be computed from them is computed when
it is used, so nothing is stored with a model but what was learned.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part

Positions = Int[Tensor, "rows time"]
KeyPositions = Int[Tensor, "rows sources"]


class Position(Part, abstract=True):
    """How position enters a network.

    Attributes:
        max_len: positions must be below this; None: no limit.
        needs_qk: uses queries and keys, so only attention can carry it.
        after_softmax: `after` does something, so probabilities must be materialised.
        shared: all layers of a stack carry the same one.
    """

    max_len: int | None = None
    needs_qk: bool = False
    after_softmax: bool = False
    shared: bool = False

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        """Refuses sizes that this position cannot serve (UserError)."""

    def head_width(self, least: int) -> int:
        """The smallest width of a head, `least` or more, that this position can serve."""
        return least

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        """States with their positions added."""
        return x

    def rotate(self, q: Tensor, k: Tensor, positions_q: Positions, positions_k: KeyPositions) -> tuple[Tensor, Tensor]:
        """Queries `[B, H, T, d]` and keys `[B, G, S, d]`, turned by position."""
        return q, k

    def bias(self, positions_q: Positions, positions_k: KeyPositions) -> Tensor | None:
        """`[1 or B, H, T, S]`, added to the logits; None: nothing."""
        return None

    def scale(self, positions_q: Positions) -> Float[Tensor, "rows time"] | None:
        """Factor on each query's logits; None: one."""
        return None

    def after(self, p: Tensor, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        """Attention probabilities `[B, H, T, S]`, changed after the softmax."""
        return p

    def extend(self, length: int) -> None:
        """Makes positions below `length` possible.

        Raises:
            UserError: where the positions that were learned do not reach that far.
        """
        if self.max_len is not None and length > self.max_len:
            raise UserError(
                f"position {type(self).__name__} knows {self.max_len} positions and {length} are asked; "
                "give shorter inputs, or a position without a limit (sinusoid, rope, alibi)"
            )


class NoPosition(Position):
    """None at all. A causal network still finds out where it is. Kazemnejad et al. 2023, https://arxiv.org/abs/2305.19466"""


class Over(Position, abstract=True):
    """A position that adds something to another one beneath.

    Args:
        heads: of the attention that carries it.
        base: the other one (default: none).
    """

    needs_qk = True

    def __init__(self, heads: int, base: Position | None = None) -> None:
        super().__init__()
        at_least_one(type(self).__name__, heads=heads)
        self.heads = heads
        self.base = NoPosition() if base is None else base
        self.max_len, self.after_softmax = self.base.max_len, type(self).after_softmax or self.base.after_softmax

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if heads is not None and heads != self.heads:
            name = type(self).__name__
            raise UserError(
                f"position {name} has {self.heads} heads and the attention {heads}; give {name}(heads={heads})"
            )
        self.base.check(dim, heads, head_dim)

    def head_width(self, least: int) -> int:
        return self.base.head_width(least)

    def embed(self, x: Float[Tensor, "batch time dim"], positions: Positions) -> Float[Tensor, "batch time dim"]:
        return self.base.embed(x, positions)

    def rotate(self, q: Tensor, k: Tensor, positions_q: Positions, positions_k: KeyPositions) -> tuple[Tensor, Tensor]:
        return self.base.rotate(q, k, positions_q, positions_k)

    def bias(self, positions_q: Positions, positions_k: KeyPositions) -> Tensor | None:
        return self.base.bias(positions_q, positions_k)

    def scale(self, positions_q: Positions) -> Float[Tensor, "rows time"] | None:
        return self.base.scale(positions_q)

    def after(self, p: Tensor, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        return self.base.after(p, positions_q, positions_k)

    def extend(self, length: int) -> None:
        self.base.extend(length)


def width_of_heads(part: str, dim: int, heads: int, position: Position, groups: int = 1) -> int:
    """How wide heads are that share the features evenly.

    Args:
        part: whose they are, for the message.
        dim, heads: what is shared, and by how many.
        position: what they carry.
        groups: that the heads must divide into.

    Raises:
        UserError: heads of unequal width, or of one that the position cannot serve; it names a width and, where there
            is one, a smaller number of heads that can be.
    """

    def serves(count: int) -> bool:
        return dim % count == 0 and position.head_width(dim // count) == dim // count

    if serves(heads):
        return dim // heads
    width = -(-dim // heads)
    # Even ones are named, which other layers and positions of the states may ask for.
    fits = [f"dim={heads * position.head_width(width + width % 2)}"]
    fewer = (count for count in range(min(heads - 1, dim), 0, -1) if dim % (2 * count) == count % groups == 0)
    fits += [f"heads={count}" for count in fewer if serves(count)][:1]
    which = "" if dim % heads else f" that position {type(position).__name__} can turn in pairs"
    raise UserError(
        f"{part}: dim {dim} does not divide into {heads} head{'s' * (heads > 1)}{which}; use {' or '.join(fits)}"
    )


def without_queries(mixer: str, position: Position) -> None:
    """For mixers without queries and keys: refuses a position that needs them."""
    if position.needs_qk:
        raise UserError(
            f"position {type(position).__name__} needs queries and keys; mixer {mixer} has none: "
            "use position none, learned or sinusoid"
        )


def frequencies(dim: int, base: float, like: Tensor) -> Tensor:
    """`base^(-2i/dim)` for i < dim/2, in float64 where `like` is, else float32."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return base ** -(torch.arange(0, dim, 2, device=like.device, dtype=dtype) / dim)
