"""Which passes that numba compiles may stand in for plain ones, and where."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

_LONG = 1 << 17  # numbers from which on a compiled pass is worth its loading


def fused_pass(module: str, name: str, numbers: int, *tensors: Tensor) -> Any | None:
    """What is called `name` in a module of compiled passes; None where the plain one is to be taken.

    That is: for other tensors than float32 on a processor, for few numbers, and where numba is not installed or finds
    no folder for what it compiles. What counts operations, or follows shapes without data (a dispatch mode), would see
    nothing of a compiled pass, so there the plain one is taken too.
    """
    able = all(t.is_cpu and t.dtype == torch.float32 for t in tensors)
    if not able or numbers < _LONG or _get_current_dispatch_mode() is not None:
        return None
    return _loaded(module, name)


@cache
def _loaded(module: str, name: str) -> Any | None:
    try:
        return getattr(import_module(f"twofold.parts.{module}"), name)
    except (ImportError, RuntimeError):
        return None
