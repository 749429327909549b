"""What a constructor takes, read from its signature: the arguments of a spec are checked against it."""

from __future__ import annotations

import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from twofold.errors import UserError, did_you_mean


@functools.cache
def signature(cls: type) -> inspect.Signature:
    """The constructor's signature, without `self`."""
    found = inspect.signature(cls.__init__)  # type: ignore[misc]
    return found.replace(parameters=list(found.parameters.values())[1:])


def parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """The constructor's arguments, by name."""
    return signature(cls).parameters


@functools.cache
def _hints(cls: type) -> dict[str, tuple[Any, str]]:
    """Annotation of each argument, with its text."""
    scope = dict(vars(sys.modules[cls.__module__]))
    found = {}
    for name, hint in inspect.get_annotations(inspect.unwrap(cls.__init__)).items():  # type: ignore[misc]
        try:
            text = hint if isinstance(hint, str) else inspect.formatannotation(hint)
            found[name] = (eval(hint, scope) if isinstance(hint, str) else hint, text)
        except Exception:  # a name that only a type checker sees: this argument goes unchecked
            continue
    return found


def check(cls: type, given: Mapping[str, Any]) -> None:
    """Refuses arguments that the constructor does not know, lacks, or cannot take.

    Raises:
        UserError: naming the part and the argument.
    """
    known, hints = parameters(cls), _hints(cls)
    for name, value in given.items():
        if name not in known:
            listed = ", ".join(known) or "none"
            meant = did_you_mean(str(name), known)
            raise UserError(f"{cls.__name__}: unknown argument {name!r}.{meant} Known: {listed}")
        if name in hints and not fits(value, hints[name][0]):
            raise UserError(f"{cls.__name__}: argument {name!r} cannot be {shown(value)}; it is {hints[name][1]}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            raise UserError(f"{cls.__name__}: argument {name!r} is missing")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value agrees with an annotation; annotations this does not know let everything pass."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, choice) for choice in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        item = (*typing.get_args(hint), Any)[0]
        return isinstance(value, list | tuple | nn.ModuleList) and all(fits(v, item) for v in value)
    if hint is None or hint is type(None):
        return value is None
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if inspect.isclass(hint) and (hint in (bool, str) or issubclass(hint, nn.Module)):
        return isinstance(value, hint)
    return True


def shown(value: Any) -> str:
    """A value in a message: short, on one line."""
    if isinstance(value, nn.Module):
        return type(value).__name__
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "…"


def above_zero(part: str, **numbers: float) -> None:
    """Refuses what is no finite number above zero (UserError), by part and argument."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise UserError(f"{part}: {name} is {number}; it must be a number above 0")


def at_least_one(part: str, **sizes: int | None) -> None:
    """Refuses sizes below one or beyond any tensor (UserError), by part and argument."""
    for name, size in sizes.items():
        if size is not None and not 1 <= size < 2**31:
            raise UserError(f"{part}: {name} is {size}; it must be at least 1 (and below 2^31)")
