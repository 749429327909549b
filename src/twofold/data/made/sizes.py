"""What all kinds of made sequence share: types, the label of what has none, and the check of their sizes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import UserError

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
