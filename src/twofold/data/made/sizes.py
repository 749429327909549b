"""What all kinds of made sequence share: types, the label of what has none, and their sizes, read and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import UserError, unknown

Integers = NDArray[np.int64]
Numbers = NDArray[np.float32]
NONE = -100  # no label


def positive(given: Any) -> None:
    """Every size of a kind is at least 1.

    Raises:
        UserError: one is not; names it.
    """
    for own in fields(given):
        if getattr(given, own.name) < 1:
            raise UserError(f"{given.name}: {own.name} is {getattr(given, own.name)}; it must be at least 1")


_WRITTEN = re.compile(r"(?P<name>[a-z][a-z0-9_-]*)(?:\((?P<sizes>.*)\))?")


def written(text: str) -> tuple[str, str] | None:
    """`mqar(time=64)` → its name and what stands in the brackets; None for what is not written so."""
    found = _WRITTEN.fullmatch(text.strip())
    return None if found is None else (found["name"], found["sizes"] or "")


def read_sizes(name: str, sizes: str, known: Sequence[str]) -> dict[str, int]:
    """`time=64, pairs=4` as numbers.

    Raises:
        UserError: a size that `name` does not have, or one that is no whole number.
    """
    found = {}
    for pair in filter(None, (p.strip() for p in sizes.split(","))):
        size, _, value = (piece.strip() for piece in pair.partition("="))
        if size not in known:
            raise unknown(f"size of {name}", size, known)
        if not value.isdecimal():
            raise UserError(f"{name}: {size} is {value!r}; it must be a whole number")
        found[size] = int(value)
    return found
