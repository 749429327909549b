"""Linear maps of fewer weights: low rank, block diagonal, and products of the two.

Wei et al. 2024, "Investigating Low-Rank Training in Transformer Language Models: Efficiency and Scaling Analysis",
https://arxiv.org/abs/2407.09835, and "Building on Efficient Foundations: Effectively Training LLMs with Structured
Feedforward Layers", https://arxiv.org/abs/2406.16450
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.linear import Dense, Linear, linear_kind


def rank_of(name: str, rank: int | float, inputs: int, outputs: int) -> int:
    """A rank as a number of dimensions: a whole number is one, a fraction is a share of the smaller width.

    Raises:
        UserError: below one, or above what a matrix of these widths can have.
    """
    most = min(inputs, outputs)
    if isinstance(rank, float):
        if not 0 < rank <= 1:
            raise UserError(f"{name}: rank {rank:g} is a share of min({inputs}, {outputs}): above 0, at most 1")
        return max(1, round(rank * most))
    if not 1 <= rank <= most:
        raise UserError(
            f"{name}: rank {rank} lies outside 1 to min({inputs}, {outputs}) = {most}; use {most} or less, or a share "
            "such as 0.25"
        )
    return rank


def spectral(
    weight: Float[Tensor, "outputs inputs"], rank: int
) -> tuple[Float[Tensor, "outputs rank"], Float[Tensor, "rank inputs"]]:
    """U·√S and √S·Vᵀ of the largest singular values: of all products of that rank the nearest to `weight`.

    As starting values: Khodak et al. 2021, https://arxiv.org/abs/2105.01029
    """
    left, values, right = torch.linalg.svd(weight.double(), full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(weight.dtype), (root[:, None] * right[:rank]).to(weight.dtype)


@linear_kind("lowrank")
class LowRankLinear(Linear):
    """`U (V x) + bias` with U `[outputs, rank]`, V `[rank, inputs]` and nothing between.

    Starts as the nearest of its rank to what `Dense` starts from (the same random numbers); at full rank that is the
    same map. Weight decay on U and V is not weight decay on U·V.

    Args:
        inputs, outputs: widths.
        bias: whether there is one.
        rank: a number, or as a fraction a share of the smaller width.

    Raises:
        UserError: a rank that these widths cannot have.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, rank: int | float = 0.25) -> None:
        super().__init__()
        at_least_one("lowrank", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        self.rank = rank_of("lowrank", rank, inputs, outputs)
        dense = Dense(inputs, outputs, bias)
        self.U = nn.Parameter(dense.weight.new_empty(outputs, self.rank))
        self.V = nn.Parameter(dense.weight.new_empty(self.rank, inputs))
        self.bias = dense.bias
        if not dense.weight.is_meta:
            self.take(dense.weight)

    @classmethod
    @torch.no_grad()
    def of(cls, part: Linear, rank: int | float) -> LowRankLinear:
        """The nearest to a linear map as it is, bias and all."""
        with torch.device("meta"):
            made = cls(part.inputs, part.outputs, part.bias is not None, rank)
        left, right = spectral(part.matrix(), made.rank)
        tensors = {"U": left, "V": right}
        if part.bias is not None:
            tensors["bias"] = part.bias.detach().clone()
        return made.assign(tensors).train(part.training)

    @torch.no_grad()
    def take(self, weight: Float[Tensor, "outputs inputs"]) -> None:
        """Sets the product to the nearest to `weight`."""
        left, right = spectral(weight, self.rank)
        self.U.copy_(left)
        self.V.copy_(right)

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.linear(F.linear(x, self.V), self.U)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.linear(F.linear(x, self.V), self.U, self.bias)

    def flops(self, rows: int) -> int:
        return 2 * rows * self.rank * (self.inputs + self.outputs)

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.U @ self.V


@linear_kind("blockdiagonal")
class BlockDiagonal(Linear):
    """A block-diagonal matrix, weight `[blocks, outputs / blocks, inputs / blocks]`: each share of the inputs makes a
    share of the outputs. Blocks start orthonormal.

    Args:
        inputs, outputs: widths.
        bias: whether there is one.
        blocks: how many.

    Raises:
        UserError: widths that do not divide into so many blocks.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, blocks: int = 4) -> None:
        super().__init__()
        _divisible("BlockDiagonal", blocks, inputs=inputs, outputs=outputs)
        self.inputs, self.outputs, self.blocks = inputs, outputs, blocks
        self.weight = nn.Parameter(torch.empty(blocks, outputs // blocks, inputs // blocks))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        if not self.weight.is_meta:
            for block in self.weight.unbind():
                nn.init.orthogonal_(block)

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        rows = x.reshape(-1, self.blocks, self.weight.shape[2]).transpose(0, 1)
        return torch.bmm(rows, self.weight.transpose(1, 2)).transpose(0, 1).reshape(*x.shape[:-1], self.outputs)

    def flops(self, rows: int) -> int:
        return 2 * rows * self.inputs * self.outputs // self.blocks


@linear_kind("blockdense")
class BlockDense(Linear):
    """`U (V x) + bias` with U `[outputs, rank]` a plain matrix and V, from inputs to rank, block-diagonal.

    Both start orthonormal (Wei et al. 2024).

    Args:
        inputs, outputs: widths.
        bias: whether there is one.
        rank: a number, or as a fraction a share of the smaller width.
        blocks: of V.

    Raises:
        UserError: a rank that these widths cannot have, or blocks that do not divide inputs and rank.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, rank: int | float = 0.25, blocks: int = 2) -> None:
        super().__init__()
        at_least_one("blockdense", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        self.rank = rank_of("blockdense", rank, inputs, outputs)
        _divisible("blockdense", blocks, inputs=inputs, rank=self.rank)
        self.U = nn.Parameter(torch.empty(outputs, self.rank))
        self.V = BlockDiagonal(inputs, self.rank, False, blocks)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        if not self.U.is_meta:
            nn.init.orthogonal_(self.U)

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.linear(self.V(x), self.U)

    def flops(self, rows: int) -> int:
        return 2 * rows * self.rank * self.outputs + self.V.flops(rows)


@linear_kind("blockshuffle")
class BlockShuffle(Linear):
    """Two block-diagonal matrices with a shuffle behind each, `S⁻¹ (U S (V x)) + bias`, so that every input can reach
    every output; min(inputs, outputs) wide between them. Dao et al. 2022 (Monarch), https://arxiv.org/abs/2204.00595

    Args:
        inputs, outputs: widths.
        bias: whether there is one.
        blocks: of both matrices.

    Raises:
        UserError: widths that do not divide into so many blocks.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, blocks: int = 4) -> None:
        super().__init__()
        _divisible("blockshuffle", blocks, inputs=inputs, outputs=outputs)
        self.inputs, self.outputs, self.blocks = inputs, outputs, blocks
        between = min(inputs, outputs)
        self.U = BlockDiagonal(between, outputs, False, blocks)
        self.V = BlockDiagonal(inputs, between, False, blocks)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        between = self.V(x).unflatten(-1, (-1, self.blocks)).transpose(-1, -2).flatten(-2)
        return self.U(between).unflatten(-1, (self.blocks, -1)).transpose(-1, -2).flatten(-2)

    def flops(self, rows: int) -> int:
        return self.U.flops(rows) + self.V.flops(rows)


def _divisible(name: str, blocks: int, **sizes: int) -> None:
    at_least_one(name, blocks=blocks, **sizes)
    for what, size in sizes.items():
        if size % blocks:
            raise UserError(f"{name}: {what} {size} does not divide into {blocks} blocks; use a divisor of {size}")
