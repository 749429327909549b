"""Plain matrices as products of low rank, and products as plain matrices again."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import TypeVar

from twofold.errors import UserError, unknown
from twofold.parts import Dense, Linear, LowRankLinear, Part, replace_linears
from twofold.parts.linear import PLACES
from twofold.surgery.checks import refuse_packed
from twofold.surgery.units import blocks

P = TypeVar("P", bound=Part)


def factorise(net: P, rank: int | float, places: Collection[str] = ("ffn",)) -> P:
    """A copy of a trained network whose linear maps are U·V, by singular values the nearest of that rank.

    No data is looked at: what the maps are fed does not count, only their weights do (Eckart & Young 1936,
    https://doi.org/10.1007/BF02288367).

    Args:
        net: any network of blocks; it stays as it is.
        rank: a number, or as a fraction a share of each map's smaller width.
        places: `ffn`, `attn`, or both.

    Raises:
        UserError: packed weights, an unknown place, a rank above what some map can have (names the map), or
            nothing to factorise.
    """
    refuse_packed(net, "factorise")
    for place in places:
        if place not in PLACES:
            raise unknown("place of linear maps", place, PLACES)
    made = copy.deepcopy(net)
    count = 0

    def change(name: str, part: Linear) -> Part:
        nonlocal count
        count += 1
        try:
            return LowRankLinear.of(part, rank)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None

    for name, block in blocks(made):
        for place, role in (("attn", "mixer"), ("ffn", "channel")):
            part = getattr(block, role)
            if place in places and part is not None:
                replace_linears(part, change, f"{name}.{role}")
    if not count:
        raise UserError(f"there is no plain linear map in {' or '.join(places)} to factorise; unpack the network first")
    return made


def merged(net: P) -> P:
    """A copy of a network with every structured linear map as the one matrix that does the same.

    More operations, but one product where there were two: faster where few tokens are computed at a time.
    """
    made = copy.deepcopy(net)
    replace_linears(made, lambda _, part: part if isinstance(part, Dense) else part.merge())
    return made
