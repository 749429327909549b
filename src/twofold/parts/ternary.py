"""Linear maps of weights −1, 0 and 1 times a scale, trained as such, and stored in 1.6 bits a weight.

Ma et al. 2024, "The Era of 1-bit LLMs: All Large Language Models are in 1.58 Bits", https://arxiv.org/abs/2402.17764;
Nielsen, Galke & Schneider-Kamp 2024, "When are 1.58 bits enough? A Bottom-up Exploration of BitNet Quantization",
https://arxiv.org/abs/2411.05882 (the median as scale)
"""

from __future__ import annotations

import functools
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.compact import CompactMatrix
from twofold.parts.fused import fused_pass
from twofold.parts.linear import Dense, Linear, linear_kind
from twofold.parts.packed import PRODUCTS, PackedLinear

DIGITS = 5
"""Ternary digits in a byte: 3^5 = 243 of its 256 values."""

_FEW = 4  # rows up to which looking up is faster than unpacking
_LEAST = 1e-5  # added to the scale of weights, so that a matrix of zeros has one


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, rounded: Tensor) -> Tensor:
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(value: Float[Tensor, "*shape"], rounded: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`rounded`, exactly, whose gradient goes to `value` as if nothing had been rounded."""
    out: Tensor = _Straight.apply(value, rounded.detach())
    return out


def absmean(weight: Float[Tensor, "*stack outputs inputs"]) -> Float[Tensor, "*stack 1 1"]:
    """The mean size of a matrix's entries."""
    return weight.abs().mean((-2, -1), keepdim=True)


def absmedian(weight: Float[Tensor, "*stack outputs inputs"]) -> Float[Tensor, "*stack 1 1"]:
    """The median size of a matrix's entries."""
    return weight.abs().flatten(-2).median(-1).values[..., None, None]


def ternary_levels(
    weight: Float[Tensor, "*stack outputs inputs"], typical: Any = absmean
) -> tuple[Float[Tensor, "*stack outputs inputs"], Float[Tensor, "*stack 1 1"]]:
    """Each entry as −1, 0 or 1, with a straight-through gradient, and the scale of the matrix (without gradient)."""
    scale = typical(weight.detach()) + _LEAST
    scaled = weight / scale
    return straight_through(scaled, scaled.detach().round().clamp(-1, 1)), scale


def activation_levels(
    x: Float[Tensor, "*batch inputs"], bits: int = 8, norm: bool = True
) -> tuple[Float[Tensor, "*batch inputs"], Float[Tensor, "*batch one"] | float]:
    """Each token's numbers as whole ones of at most `bits` bits, with a straight-through gradient, and their step.

    Args:
        bits: 2 to 8; 0 leaves the numbers as they are (step 1).
        norm: a layer norm without gain and bias comes first.
    """
    if norm:
        x = F.layer_norm(x, x.shape[-1:], eps=1e-8)
    if not bits:
        return x, 1.0
    top = 2 ** (bits - 1) - 1
    step = x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-8) / top
    scaled = x / step
    return straight_through(scaled, scaled.detach().round().clamp(-top, top)), step


def _bits(name: str, bits: int) -> int:
    if bits != 0 and not 2 <= bits <= 8:
        raise UserError(f"{name}: activation_bits is {bits}; it must be 2 to 8, or 0 to leave activations as they are")
    return bits


@linear_kind("bit158")
class BitLinear(Linear):
    """`scale · step · (levels of the weights · levels of the token) + bias`: three values a weight, 8 bits for tokens.

    Weights are kept as plain numbers for the optimizer and rounded in every pass: `round(weight / scale)`, clipped to
    −1 … 1, with the mean size of the entries as scale; gradients pass the rounding as if it were not there. The product
    is one of whole numbers, so it is exact, and `pack` gives the same outputs to the last bit.

    Args:
        inputs, outputs: widths.
        bias: whether there is one; it stays a plain number.
        activation_bits: of each token's numbers, 2 to 8; 0 leaves them as they are.
        norm: a layer norm without gain and bias comes before the rounding, as in BitNet.

    Raises:
        UserError: bits that there are not.
    """

    typical = staticmethod(absmean)

    def __init__(
        self, inputs: int, outputs: int, bias: bool = True, activation_bits: int = 8, norm: bool = True
    ) -> None:
        super().__init__()
        at_least_one("bit158", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        self.activation_bits, self.norm = _bits("bit158", activation_bits), norm
        dense = Dense(inputs, outputs, bias)
        self.weight, self.bias = dense.weight, dense.bias

    @classmethod
    def of(cls, part: Linear, activation_bits: int = 8, norm: bool = True) -> BitLinear:
        """A ternary map that starts from (shares no storage with) a plain one's matrix and bias."""
        with torch.device("meta"):
            made = cls(part.inputs, part.outputs, part.bias is not None, activation_bits, norm)
        tensors = {"weight": part.matrix().detach().clone()}
        if part.bias is not None:
            tensors["bias"] = part.bias.detach().clone()
        return made.assign(tensors).train(part.training)

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        x, step = activation_levels(x, self.activation_bits, self.norm)
        levels, scale = ternary_levels(self.weight, self.typical)
        return F.linear(x, levels) * (step * scale[0, 0])

    def flops(self, rows: int) -> int:
        return 2 * rows * self.inputs * self.outputs

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        levels, scale = ternary_levels(self.weight, self.typical)
        return levels * scale

    def merge(self) -> Dense:
        """Refused: it rounds its tokens too, which no plain matrix does."""
        raise UserError(_NO_MATRIX)

    @torch.no_grad()
    def pack(self) -> PackedBitLinear:
        """The same map, to the last bit, at five weights a byte; it cannot be trained further."""
        levels, scale = ternary_levels(self.weight, self.typical)
        made = PackedBitLinear(Ternary.of(levels), self.bias is not None, self.activation_bits, self.norm)
        made.scale.copy_(scale[0, 0])
        if self.bias is not None:
            made.bias = nn.Parameter(self.bias.detach().clone())
        return made.to(self.weight.device).train(self.training)


@linear_kind("bit158-median")
class MedianBitLinear(BitLinear):
    """As `BitLinear`, with the median size of the entries as scale (Nielsen et al. 2024)."""

    typical = staticmethod(absmedian)

    def __init__(
        self, inputs: int, outputs: int, bias: bool = True, activation_bits: int = 8, norm: bool = True
    ) -> None:
        super().__init__(inputs, outputs, bias, activation_bits, norm)


def pack_digits(levels: Float[Tensor, "*rows count"]) -> UInt8[Tensor, "*rows bytes"]:
    """Numbers −1, 0 and 1 as bytes, five in each, ⌈count / 5⌉ a row: digit i of a byte counts 3^i."""
    count = levels.shape[-1]
    whole = F.pad(levels, (0, -count % DIGITS)).unflatten(-1, (-1, DIGITS)) + 1
    powers = 3.0 ** torch.arange(DIGITS, device=levels.device)
    return (whole.float() * powers).sum(-1).round().to(torch.uint8)


def unpack_digits(
    stored: UInt8[Tensor, "*rows bytes"], count: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "*rows count"]:
    """The first `count` numbers of each row of what `pack_digits` gave."""
    return F.embedding(stored.int(), _digits(dtype, str(stored.device))).flatten(-2)[..., :count]


@functools.cache
def _digits(dtype: torch.dtype, device: str) -> Tensor:
    codes = torch.arange(256, device=device)[:, None]
    return (codes // 3 ** torch.arange(DIGITS, device=device) % 3 - 1).to(dtype)


class Ternary(CompactMatrix):
    """A matrix of −1, 0 and 1, five entries a byte: 1.6 bits a weight where the columns divide by five.

    Args:
        rows, columns: its shape.

    Tensors:
        digits: uint8 `[⌈columns / 5⌉, rows]`, each below 243; in this order a product of one token reads them.
    """

    digits: Tensor

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        at_least_one("Ternary", rows=rows, columns=columns)
        self.rows, self.columns = rows, columns
        # All digits 1 stand for zeros: 1 + 3 + 9 + 27 + 81.
        self.register_buffer("digits", torch.full((-(-columns // DIGITS), rows), 121, dtype=torch.uint8))

    @classmethod
    def of(cls, levels: Float[Tensor, "rows columns"]) -> Ternary:
        """A matrix whose entries are −1, 0 and 1 already."""
        made = cls(*levels.shape)
        made.digits = pack_digits(levels).T.contiguous()
        return made

    def take(self, which: slice | Int[Tensor, " n"], dtype: torch.dtype) -> Float[Tensor, "n columns"]:
        return unpack_digits(self.digits[:, which].T, self.columns, dtype)

    def check_tensors(self) -> None:
        if self.digits.dtype != torch.uint8 or int(self.digits.max()) >= 3**DIGITS:
            raise UserError("bytes of ternary weights lie below 243: the file is damaged; copy or make it again")


def table_product(weight: Ternary, x: Float[Tensor, "few columns"]) -> Float[Tensor, "few rows"]:
    """`x @ weight.T` without unpacking: what each byte could be worth to x is computed once, then looked up and added.

    Exact where x holds whole numbers. A few rows of x are faster so; many are not. Wei et al. 2024 (T-MAC),
    https://arxiv.org/abs/2407.00088
    """
    count = len(weight.digits)
    fives = F.pad(x, (0, count * DIGITS - weight.columns)).unflatten(-1, (count, DIGITS))
    worth = fives @ _digits(x.dtype, str(x.device)).T
    fused = fused_pass("fused_ternary", "look_up", weight.digits.numel(), worth)
    if fused is not None:
        return cast(Tensor, fused(weight.digits, worth))
    index = (weight.digits.int() + 256 * torch.arange(count, dtype=torch.int32, device=x.device)[:, None]).flatten()
    # Looking up numbers is several times faster than looking up rows of one.
    return torch.stack([row.index_select(0, index).view(count, weight.rows).sum(0) for row in worth.flatten(1)])


class PackedBitLinear(PackedLinear):
    """What `BitLinear.pack` gives: ternary weights as bytes, the same outputs to the last bit.

    Args:
        weight: the ternary matrix.
        bias, activation_bits, norm: as `BitLinear` has them.

    Tensors:
        scale: of the weights, float32, a single number.
    """

    def __init__(self, weight: Ternary, bias: bool = True, activation_bits: int = 8, norm: bool = True) -> None:
        super().__init__(weight, bias)
        self.activation_bits, self.norm = _bits("PackedBitLinear", activation_bits), norm
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        x, step = activation_levels(x, self.activation_bits, self.norm)
        whole = self.activation_bits and x.dtype in (torch.float32, torch.float64)
        if whole and x.numel() <= _FEW * self.inputs and isinstance(self.weight, Ternary):
            y = table_product(self.weight, x.reshape(-1, self.inputs)).view(*x.shape[:-1], self.outputs)
        else:
            y = PRODUCTS[self.product](self.weight, x, None)
        return y * (step * self.scale)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return Linear.forward(self, x)

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.weight.dense() * self.scale

    def merge(self) -> Dense:
        """Refused: it rounds its tokens too, which no plain matrix does."""
        raise UserError(_NO_MATRIX)


_NO_MATRIX = (
    "a ternary layer also rounds what it reads, so no plain matrix does the same; use the model as it is, or take "
    "the layer's matrix() and lose that"
)
