"""Linear maps, by kind: what stands where a weight matrix stands."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from twofold.errors import unknown
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part


class Dense(Part, nn.Linear):
    """`x @ weight.T + bias`, weight `[outputs, inputs]`: a plain matrix."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        at_least_one("Dense", inputs=inputs, outputs=outputs)
        nn.Linear.__init__(self, inputs, outputs, bias)


LINEAR: dict[str, Callable[[int, int, bool], Part]] = {"dense": Dense}
"""Kinds of linear map, by name: `(inputs, outputs, bias) -> Part`. New kinds are added here."""


def linear(inputs: int, outputs: int, bias: bool = True, kind: str = "dense") -> Part:
    """A linear map `[..., inputs] -> [..., outputs]` of a registered kind.

    Raises:
        UserError: unknown kind.
    """
    if kind not in LINEAR:
        raise unknown("kind of linear map", kind, LINEAR)
    return LINEAR[kind](inputs, outputs, bias)
