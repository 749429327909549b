"""The first coordinates of a vector, used as a vector."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part


def prefix(vectors: Float[Tensor, "*batch dim"], width: int, *, normalise: bool) -> Float[Tensor, "*batch width"]:
    """The first `width` coordinates of each vector, brought to unit length after the cut where asked.

    The whole vector is given back as it is.

    Raises:
        UserError: `width` is below 1 or above the vectors' own.
    """
    whole = vectors.shape[-1]
    if not 1 <= width <= whole:
        raise UserError(f"width={width} cannot be cut from vectors of {whole}; use 1 to {whole}")
    if width == whole:
        return vectors
    cut = vectors[..., :width]
    return F.normalize(cut, dim=-1) if normalise else cut


def halvings(width: int, least: int = 8) -> tuple[int, ...]:
    """`width`, its half, a fourth and so on, down to `least`; in rising order."""
    found = [width]
    while found[-1] // 2 >= least:
        found.append(found[-1] // 2)
    return tuple(reversed(found))


def rising(widths: Sequence[int], whole: int) -> tuple[int, ...]:
    """The widths, checked: at least one, rising, from 1 up to `whole`.

    Raises:
        UserError: they are none, not in rising order, or reach beyond `whole`.
    """
    given = tuple(widths)
    if not given or given[0] < 1 or any(a >= b for a, b in pairwise(given)):
        raise UserError(f"widths={list(given)} are not in rising order from 1 or more; write them like [8, 16, 32]")
    if given[-1] > whole:
        raise UserError(f"widths={list(given)} reach beyond the vectors' width, {whole}; leave out what is above it")
    return given


class Prefix(Part):
    """The first `width` coordinates, brought to unit length where asked (see `prefix`)."""

    def __init__(self, width: int, normalise: bool = False) -> None:
        super().__init__()
        at_least_one("Prefix", width=width)
        self.width, self.normalise = width, normalise

    def forward(self, vectors: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch width"]:
        return prefix(vectors, self.width, normalise=self.normalise)
