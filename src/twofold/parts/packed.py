"""Layers whose weights are packed, and what is done with all of a network's: found, put in place, unpacked, counted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twofold.errors import unknown
from twofold.parts.compact import CompactMatrix, Packed
from twofold.parts.embeddings import Table
from twofold.parts.linear import LINEAR, Dense, Linear
from twofold.parts.part import Part

Net = TypeVar("Net", bound=nn.Module)

_TILE = 2**18  # numbers that are unpacked at once: 1 MB in float32, which stays in a processor's cache


def _by_tiles(weight: CompactMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    step = max(1, _TILE // weight.columns)
    out = []
    for start in range(0, weight.rows, step):
        rows = slice(start, min(start + step, weight.rows))
        out.append(F.linear(x, weight.take(rows, x.dtype), None if bias is None else bias[rows]))
    return out[0] if len(out) == 1 else torch.cat(out, -1)


def _at_once(weight: CompactMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.dense(x.dtype), bias)


PRODUCTS: dict[str, Callable[[CompactMatrix, Tensor, Tensor | None], Tensor]] = {"tile": _by_tiles, "dense": _at_once}
"""Ways to compute `x @ W.T + bias`: `tile` unpacks some rows at a time, `dense` all of them. They agree."""


class PackedLinear(Linear):
    """`x @ weight.T + bias` with a compact matrix `[outputs, inputs]`.

    `product`, a name of `PRODUCTS`, says how it is computed; it is not saved.

    Args:
        weight: the matrix.
        bias: there is one.
    """

    product = "tile"

    def __init__(self, weight: CompactMatrix, bias: bool = True) -> None:
        super().__init__()
        self.weight = weight
        self.inputs, self.outputs = weight.columns, weight.rows
        self.bias = nn.Parameter(torch.zeros(weight.rows)) if bias else None

    @classmethod
    def of(cls, layer: Linear, weight: CompactMatrix) -> PackedLinear:
        """What stands in for a layer once its matrix is packed; the bias is the layer's."""
        made = cls(weight, layer.bias is not None)
        made.bias = layer.bias
        return made

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return PRODUCTS[self.product](self.weight, x, None)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return PRODUCTS[self.product](self.weight, x, self.bias)

    def flops(self, rows: int) -> int:
        return 2 * rows * self.inputs * self.outputs

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.weight.dense()


class PackedTable(Part):
    """Token vectors from a compact matrix `[vocab, dim]`; stands where an embedding has its `Table`."""

    def __init__(self, weight: CompactMatrix) -> None:
        super().__init__()
        self.weight = weight

    @property
    def vectors(self) -> Float[Tensor, "vocab dim"]:
        """All of them as plain numbers, for tied heads."""
        return self.weight.dense()

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        return self.weight.take(ids.flatten(), torch.float32).unflatten(0, ids.shape)

    def merge(self) -> Table:
        """The same vectors as a plain table, in float32."""
        made = Table(self.weight.rows, self.weight.columns)
        made.weight = nn.Parameter(self.weight.dense().detach())
        return made


def _packed(inputs: int, outputs: int, bias: bool, bits: int = 4, group: int = 64) -> PackedLinear:
    return PackedLinear(Packed(outputs, inputs, bits, group), bias)


LINEAR["packed"] = _packed  # all zeros until weights are put into it: what is saved and costs, not how to start


def packed_layers(net: nn.Module) -> Iterator[tuple[str, PackedLinear | PackedTable]]:
    """The packed layers of a network by name; one that stands in several places comes once for each."""
    for name, part in net.named_modules(remove_duplicate=False):
        if isinstance(part, PackedLinear | PackedTable):
            yield name, part


def use_product(net: Net, name: str) -> Net:
    """Chooses how all packed layers of a network compute (a name of `PRODUCTS`); nothing of it is saved.

    Raises:
        UserError: no such way.
    """
    if name not in PRODUCTS:
        raise unknown("way to multiply packed weights", name, PRODUCTS)
    for part in net.modules():
        if isinstance(part, PackedLinear):
            part.product = name
    return net


def put(net: nn.Module, new: Mapping[str, Part]) -> None:
    """Puts parts in the places of others, by name as in `named_modules`."""
    for name, part in new.items():
        parent, _, leaf = name.rpartition(".")
        old = net.get_submodule(name)
        setattr(net.get_submodule(parent), leaf, part.train(old.training))


def unpacked(net: Net) -> Net:
    """A copy of a network with plain matrices in place of all packed ones."""
    found: dict[int, Part] = {}
    plain = copy.deepcopy(net)
    layers = dict(packed_layers(plain))
    put(plain, {name: found.setdefault(id(layer), layer.merge()) for name, layer in layers.items()})
    return plain


def count_weights(net: nn.Module) -> int:
    """How many weights a network has, shared ones counted once, packed ones as the plain ones they stand for."""
    matrices = [part for part in net.modules() if isinstance(part, CompactMatrix)]
    inside = {id(p) for matrix in matrices for p in matrix.parameters()}
    plain = sum(p.numel() for p in net.parameters() if id(p) not in inside)
    return plain + sum(matrix.numbers for matrix in matrices)


def bits_per_weight(net: nn.Module) -> float:
    """Stored bits for each weight of a network's linear layers: codes, scales, tables and outliers; biases apart."""
    stored = weights = 0.0
    for part in net.modules():
        if isinstance(part, PackedLinear):
            stored += part.weight.bits_per_weight * part.weight.numbers
            weights += part.weight.numbers
        elif isinstance(part, Dense):
            stored += 8 * part.weight.element_size() * part.weight.numel()
            weights += part.weight.numel()
    return stored / weights if weights else 0.0
