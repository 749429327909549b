"""Linear maps, by kind: what stands where a weight matrix stands.

A kind is a class, registered under a name; written with arguments it is `lowrank(0.25)` or `blockdense(32, 4)`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError, unknown
from twofold.parts import arguments
from twofold.parts.arguments import at_least_one
from twofold.parts.part import Part

C = TypeVar("C", bound=type[Part])


class Linear(Part, abstract=True):
    """A linear map with a bias, whatever it is made of.

    Attributes:
        inputs, outputs: widths.
        bias: `[outputs]`, or None.
    """

    inputs: int
    outputs: int
    bias: Any  # a parameter or None; torch declares its own as a tensor

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The map without its bias."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        y = self.mapped(x)
        return y if self.bias is None else y + self.bias

    def flops(self, rows: int) -> int:
        """Multiply–adds, times two, for that many rows."""
        raise NotImplementedError

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        """The one matrix that does the same, without the bias."""
        some = next(self.parameters())
        return self.mapped(torch.eye(self.inputs, dtype=some.dtype, device=some.device)).T

    @torch.no_grad()
    def merge(self) -> Dense:
        """The same map as a plain matrix: faster where there are few rows at a time."""
        weight = self.matrix().contiguous()
        with torch.device("meta"):
            dense = Dense(self.inputs, self.outputs, self.bias is not None)
        tensors = {"weight": weight} if self.bias is None else {"weight": weight, "bias": self.bias.detach().clone()}
        return dense.assign(tensors).train(self.training)


LINEAR: dict[str, Callable[..., Part]] = {}
"""Kinds of linear map, by name: classes (or functions) that are called with `(inputs, outputs, bias, ...)`; what
follows are the kind's own arguments, numbers, each with a default. New kinds are added here, or by `linear_kind`."""


def linear_kind(name: str) -> Callable[[C], C]:
    """Registers a class as a kind of linear map."""

    def register(cls: C) -> C:
        LINEAR[name] = cls
        return cls

    return register


@linear_kind("dense")
class Dense(Linear, nn.Linear):
    """`x @ weight.T + bias`, weight `[outputs, inputs]`: a plain matrix."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        at_least_one("Dense", inputs=inputs, outputs=outputs)
        nn.Linear.__init__(self, inputs, outputs, bias)

    @property
    def inputs(self) -> int:  # type: ignore[override]
        return self.in_features

    @property
    def outputs(self) -> int:  # type: ignore[override]
        return self.out_features

    def mapped(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.linear(x, self.weight)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return F.linear(x, self.weight, self.bias)

    def flops(self, rows: int) -> int:
        return 2 * rows * self.inputs * self.outputs

    def matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.weight


def linear(inputs: int, outputs: int, bias: bool = True, kind: str = "dense") -> Part:
    """A linear map `[..., inputs] -> [..., outputs]` of a registered kind.

    Args:
        kind: a name of `LINEAR`, with arguments where it takes some: `lowrank(0.25)`.

    Raises:
        UserError: unknown kind, or arguments that it cannot take at these widths.
    """
    make, given = parse(kind)
    if isinstance(make, type):
        arguments.check(make, dict(zip(arguments.parameters(make), (inputs, outputs, bias, *given), strict=False)))
    return make(inputs, outputs, bias, *given)


def linear_flops(part: nn.Module, rows: int) -> int:
    """Operations of a linear map for that many rows; one that is no `Linear` counts as the matrix it stands for.

    Raises:
        UserError: it does not say its widths.
    """
    if isinstance(part, Linear):
        return part.flops(rows)
    widths = getattr(part, "in_features", None), getattr(part, "out_features", None)
    if not isinstance(widths[0], int) or not isinstance(widths[1], int):
        raise UserError(f"{type(part).__name__} stands for a linear map and does not say what it costs")
    return 2 * rows * widths[0] * widths[1]


_WRITTEN = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\((.*)\))?\s*")


def parse(kind: str) -> tuple[Callable[..., Part], tuple[int | float, ...]]:
    """What makes a kind as it is written, and the arguments given there.

    Raises:
        UserError: it cannot be read, there is no such kind, or it takes other arguments.
    """
    written = _WRITTEN.fullmatch(kind)
    if written is None:
        raise UserError(
            f"cannot read {kind!r} as a kind of linear map; write lowrank(0.25), and inside {{…}} put quotes around a "
            "kind with several arguments"
        )
    name, listed = written[1], written[2]
    if name not in LINEAR:
        raise unknown("kind of linear map", name, LINEAR)
    make = LINEAR[name]
    takes = arguments.parameters(make) if isinstance(make, type) else inspect.signature(make).parameters
    own = list(takes)[3:]
    given = tuple(_number(piece, kind) for piece in listed.split(",")) if listed else ()
    if len(given) > len(own):
        known = f"takes {', '.join(own)}" if own else "takes no arguments"
        raise UserError(f"{kind!r} gives {len(given)} arguments, and {name} {known}")
    return make, given


def kinds(linear: str | Mapping[str, Any]) -> dict[str, str]:
    """Which kind stands where: one for all, or `{"ffn": "lowrank(0.25)"}` with the rest dense.

    Returns:
        The kind of `attn` (attention's projections) and of `ffn` (the feed-forward part).

    Raises:
        UserError: another place, or a kind that cannot be read.
    """
    given: Mapping[str, Any] = dict.fromkeys(PLACES, linear) if isinstance(linear, str) else linear
    for place, kind in given.items():
        if place not in PLACES:
            raise unknown("place of linear maps", str(place), PLACES)
        if not isinstance(kind, str):
            raise UserError(f"linear: {place} is {kind!r}; give a kind of linear map, such as lowrank(0.25)")
        parse(kind)
    return {place: given.get(place, "dense") for place in PLACES}


PLACES = ("attn", "ffn")
"""Where a network's linear maps stand: in attention, in the feed-forward part."""


def replace_linears(net: nn.Module, change: Callable[[str, Linear], Part], name: str = "") -> None:
    """Puts `change(name, map)` in the place of every linear map inside `net`; one that is shared is changed once.

    Maps inside other linear maps are left to those.
    """
    _replace(net, change, name, {})


def _replace(net: nn.Module, change: Callable[[str, Linear], Part], name: str, changed: dict[int, Part]) -> None:
    for child_name, child in list(net.named_children()):
        path = f"{name}.{child_name}" if name else child_name
        if not isinstance(child, Linear):
            _replace(child, change, path, changed)
            continue
        if id(child) not in changed:
            changed[id(child)] = change(path, child)
        new = changed[id(child)]
        if new is not child:
            setattr(net, child_name, new)


def _number(text: str, kind: str) -> int | float:
    for number in (int, float):
        try:
            return number(text.strip())
        except ValueError:
            continue
    raise UserError(f"{text.strip()!r} in {kind!r} is no number; arguments are numbers, as in lowrank(0.25)")
