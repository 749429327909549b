"""Experts: many feed-forward networks as stacks of matrices, of which each token meets a few.

Tokens are sorted by expert and gathered, all experts run in one grouped product, and the answers go back weighted;
the dispatch by one-hot products of the first papers (Lepikhin et al. 2020, https://arxiv.org/abs/2006.16668) stands
beside it as the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twofold.errors import unknown
from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import nonlinearity
from twofold.parts.grouped import grouped
from twofold.parts.part import Part
from twofold.parts.routing import Routing
from twofold.parts.ternary import activation_levels, ternary_levels


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class StackedLinear(Part):
    """`count` linear maps without bias, each for its own rows: weight `[count, outputs, inputs]`.

    Args:
        count: how many.
        inputs, outputs: widths.
        gradient: what the weights' gradient is multiplied by.
    """

    def __init__(self, count: int, inputs: int, outputs: int, gradient: float = 1.0) -> None:
        super().__init__()
        at_least_one("StackedLinear", count=count, inputs=inputs, outputs=outputs)
        self.count, self.inputs, self.outputs, self.gradient = count, inputs, outputs, gradient
        self.weight = nn.Parameter(torch.empty(count, outputs, inputs))
        if not self.weight.is_meta:
            nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)  # as a plain map starts

    def weights(self) -> Float[Tensor, "count outputs inputs"]:
        """The matrices, with the gradient that they are to have."""
        if self.gradient == 1.0:
            return self.weight
        out: Tensor = _Scaled.apply(self.weight, self.gradient)
        return out

    def forward(self, x: Tensor, sizes: Int[Tensor, "count"] | None = None) -> Tensor:
        """Every map on its own rows.

        Args:
            x: `[count, rows, inputs]`, or with sizes all rows in the order of their maps, `[rows, inputs]`.
            sizes: how many rows each map has.

        Returns:
            Of x's shape, `outputs` wide.
        """
        return self.product(x, self.weights(), sizes)

    @staticmethod
    def product(x: Tensor, weights: Tensor, sizes: Tensor | None) -> Tensor:
        """The products themselves, of shapes as in `forward`."""
        return torch.bmm(x, weights.transpose(1, 2)) if sizes is None else grouped(x, weights, sizes)


class StackedBitLinear(StackedLinear):
    """As `StackedLinear`, each map ternary with a scale of its own, and tokens in 8 bits (see `BitLinear`).

    Args:
        count: how many.
        inputs, outputs: widths.
        gradient: what the weights' gradient is multiplied by.
    """

    def __init__(self, count: int, inputs: int, outputs: int, gradient: float = 1.0) -> None:
        super().__init__(count, inputs, outputs, gradient)

    def forward(self, x: Tensor, sizes: Int[Tensor, "count"] | None = None) -> Tensor:
        levels, step = activation_levels(x)
        weights, scale = ternary_levels(self.weights())
        if sizes is not None:
            scale = scale.flatten().repeat_interleave(sizes)[:, None]
        return self.product(levels, weights, sizes) * (step * scale)


STACKED: dict[str, type[StackedLinear]] = {"dense": StackedLinear, "bit158": StackedBitLinear}
"""Kinds of stacked maps by name."""


class Experts(Part):
    """`count` feed-forward networks of one shape, without biases: `down(act(up(x)))`, or gated.

    Args:
        dim: width of the states.
        hidden: width between the maps of one expert.
        count: how many experts.
        activation: a name of `ACTIVATIONS`.
        gate: a third map goes through the nonlinearity and multiplies (SwiGLU with silu).
        linear: kind of the maps, a name of `STACKED`.
        gradient: what the gradient of the weights is multiplied by.

    Attributes:
        dispatch: a name of `DISPATCH`: how tokens come to their experts; not saved.

    Raises:
        UserError: an unknown name, or a size below 1.
    """

    dispatch = "sort"

    def __init__(
        self,
        dim: int,
        hidden: int,
        count: int,
        activation: str = "gelu",
        gate: bool = False,
        linear: str = "dense",
        gradient: float = 1.0,
    ) -> None:
        super().__init__()
        at_least_one("Experts", dim=dim, hidden=hidden, count=count)
        if linear not in STACKED:
            raise unknown("kind of experts' maps", linear, STACKED)
        self.dim, self.hidden, self.count = dim, hidden, count
        self.act = nonlinearity(activation)
        make = STACKED[linear]
        self.up = make(count, dim, hidden, gradient)
        self.gate = make(count, dim, hidden, gradient) if gate else None
        self.down = make(count, hidden, dim, gradient)

    def run(self, x: Tensor, sizes: Int[Tensor, "count"] | None = None) -> Tensor:
        """Every expert on its own rows: `[count, rows, dim]`, or with sizes all of them by expert, `[rows, dim]`."""
        out: Tensor = self.up(x, sizes)
        hidden = self.act(out) if self.gate is None else self.act(self.gate(x, sizes)) * out
        answers: Tensor = self.down(hidden, sizes)
        return answers

    def forward(
        self, x: Float[Tensor, "tokens dim"], routing: Routing, capacity: int | None = None
    ) -> Float[Tensor, "tokens dim"]:
        """The weighted answers of each token's experts.

        Args:
            x: the tokens.
            routing: where they go.
            capacity: the most that an expert takes: first choices before second ones, and earlier tokens first. What
                goes over is left out (its answer is zero). None: no limit.
        """
        return DISPATCH[self.dispatch](self, x, routing, capacity)

    def flops(self, tokens: int) -> int:
        """Multiply–adds, times two, for that many tokens at one expert."""
        return 2 * tokens * self.dim * self.hidden * (2 if self.gate is None else 3)


def capacity_of(factor: float, k: int, tokens: int, experts: int) -> int:
    """⌈factor · k · tokens / experts⌉, at least 1."""
    return max(1, math.ceil(factor * k * tokens / experts))


def places(index: Int[Tensor, "tokens k"], experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """The turn of each choice at its expert: first choices before second ones, earlier tokens first.

    Returns:
        For all choices in the order of their experts: the token, the rank of the choice times the number of tokens
        plus the token (`k · N` numbers each), and the turn.
    """
    count, k = index.shape
    flat = index.T.reshape(-1)
    order = flat.argsort(stable=True)
    each = torch.bincount(flat, minlength=experts)
    start = each.cumsum(0) - each
    turn = torch.arange(count * k, device=index.device) - start[flat[order]]
    return order % count, order, turn


def _sorted(experts: Experts, x: Tensor, routing: Routing, capacity: int | None) -> Tensor:
    token, choice, turn = places(routing.index, experts.count)
    expert = routing.index.T.reshape(-1)[choice]
    weight = routing.weight.T.reshape(-1)[choice]
    if capacity is not None:
        kept = turn < capacity
        token, expert, weight = token[kept], expert[kept], weight[kept]
    answers = experts.run(x[token], torch.bincount(expert, minlength=experts.count))
    return torch.zeros_like(x).index_add(0, token, answers * weight[:, None].to(answers.dtype))


def _one_hot(experts: Experts, x: Tensor, routing: Routing, capacity: int | None) -> Tensor:
    most = capacity or len(x)
    send = x.new_zeros(len(x), experts.count, most)
    used = torch.zeros(experts.count, dtype=torch.long, device=x.device)
    for rank in range(routing.index.shape[1]):
        chosen = F.one_hot(routing.index[:, rank], experts.count)
        turn = (chosen.cumsum(0) - 1 + used) * chosen
        fits = chosen * (turn < most)
        places = F.one_hot(turn.clamp(max=most - 1), most) * fits[..., None]
        send = send + places * routing.weight[:, rank, None, None].to(x.dtype)
        used = used + chosen.sum(0)
    rows = torch.einsum("nec,nd->ecd", (send != 0).to(x.dtype), x)
    return torch.einsum("nec,ecd->nd", send, experts.run(rows))


DISPATCH: dict[str, Callable[[Experts, Tensor, Routing, int | None], Tensor]] = {"sort": _sorted, "einsum": _one_hot}
"""Ways to bring tokens to their experts: `sort` gathers them, `einsum` multiplies with one-hot tensors. They agree."""
