"""Where to compute, and in what precision: said once by whoever starts the work, read by whoever does it.

    with computing.on("cuda", "bfloat16"):
        ...

Importing this loads no torch.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from typing import Literal

from twofold.errors import UserError, unknown

DTYPES = ("auto", "float32", "bfloat16")
INTEGERS = "int8"  # only where a trained network is used
WORTH = 1.3  # bfloat16 must be so much faster at a matrix product, or the casts eat what it gains

_device: ContextVar[str] = ContextVar("twofold_device", default="cpu")
_dtype: ContextVar[str | None] = ContextVar("twofold_dtype", default=None)


@contextlib.contextmanager
def on(device: str | None = None, dtype: str | None = None, integers: bool = False) -> Iterator[None]:
    """Do the work inside on `device`, with activations in `dtype`; None leaves what holds outside.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `float32`, `bfloat16`, or `auto`, whichever is faster here; weights stay in float32.
        integers: `int8` is allowed too, for work that knows it.

    Raises:
        UserError: this machine has no such device, or there is no such type.
    """
    known = (*DTYPES, INTEGERS) if integers else DTYPES
    if dtype is not None and dtype not in known:
        raise unknown("dtype", dtype, known)
    if device is not None:
        _check(device)
    device_before = _device.set(device or _device.get())
    dtype_before = _dtype.set((fastest() if dtype == "auto" else dtype) or _dtype.get())
    try:
        yield
    finally:
        _device.reset(device_before)
        _dtype.reset(dtype_before)


def device() -> str:
    """The device that was asked for; `cpu` where none was."""
    return _device.get()


def dtype() -> Literal["float32", "bfloat16"]:
    """The type of floating-point work in force; float32 where none was asked for."""
    return "bfloat16" if _dtype.get() == "bfloat16" else "float32"


def use_dtype() -> Literal["float32", "bfloat16", "int8"]:
    """The type in force where a trained network is used: `dtype`, or `int8` where that was asked for."""
    return "int8" if _dtype.get() == INTEGERS else dtype()


def autocast() -> contextlib.AbstractContextManager[object]:
    """Computes in the type that was asked for; does nothing where none was, or float32."""
    if dtype() != "bfloat16":
        return contextlib.nullcontext()
    import torch

    return torch.autocast(torch.device(_device.get()).type, dtype=torch.bfloat16)


@contextlib.contextmanager
def inference() -> Iterator[None]:
    """No gradients, in the type in force."""
    import torch

    with torch.inference_mode(), autocast():
        yield


@cache
def fastest() -> str:
    """The type in which this machine multiplies matrices of a small transformer fastest, measured once."""
    import torch

    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        a, b = torch.ones(256, 384, dtype=kind), torch.ones(384, 1536, dtype=kind)
        taken = []
        for _ in range(4):
            started = time.perf_counter()
            a @ b
            taken.append(time.perf_counter() - started)
        seconds[kind] = min(taken)
    return "bfloat16" if seconds[torch.bfloat16] * WORTH < seconds[torch.float32] else "float32"


def _check(name: str) -> None:
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = ["cpu"]
        here += ["cuda"] if torch.cuda.is_available() else []
        here += ["mps"] if torch.backends.mps.is_available() else []
        raise UserError(f"cannot compute on device {name!r}; this machine has: {', '.join(here)}") from error
