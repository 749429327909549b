"""Networks whose linear maps become ternary, and ternary networks packed into bytes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from twofold.errors import UserError
from twofold.parts import BitLinear, Dense, Linear, MedianBitLinear, Part, replace_linears

SCALES: dict[str, type[BitLinear]] = {"mean": BitLinear, "median": MedianBitLinear}
"""What a ternary matrix is scaled by: the mean or the median size of its entries."""


def to_bit158(net: nn.Module, skip: Sequence[str] = ("head",), scale: str = "mean", activation_bits: int = 8) -> int:
    """Puts ternary maps in the places of all plain ones, in place, with their weights as starting values.

    Embeddings and norms are no linear maps and stay.

    Args:
        net: any network.
        skip: names (or parts of dotted names) whose maps stay plain.
        scale: a name of `SCALES`.
        activation_bits: as `BitLinear` has it.

    Returns:
        How many maps were replaced.

    Raises:
        UserError: there is nothing to replace.
    """
    count = 0

    def change(name: str, part: Linear) -> Part:
        nonlocal count
        if not isinstance(part, Dense) or set(name.split(".")) & set(skip):
            return part
        count += 1
        return SCALES[scale].of(part, activation_bits)

    replace_linears(net, change)
    if not count:
        raise UserError("the network has no plain linear maps to make ternary; they are packed, structured or skipped")
    return count


def pack_bit158(net: nn.Module) -> int:
    """Packs the ternary maps of a network, in place: the same outputs to the last bit. How many there were."""
    count = 0

    def change(_: str, part: Linear) -> Part:
        nonlocal count
        if not isinstance(part, BitLinear):
            return part
        count += 1
        return part.pack()

    replace_linears(net, change)
    return count
