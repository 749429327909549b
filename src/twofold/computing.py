"""Where to compute, and in what precision: said once by whoever starts the work, read by whoever does it.

    with computing.on("cuda", "bfloat16"):
        ...

Importing this loads no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from twofold.errors import UserError, unknown

DTYPES = ("float32", "bfloat16")

_device: ContextVar[str] = ContextVar("twofold_device", default="cpu")
_dtype: ContextVar[str | None] = ContextVar("twofold_dtype", default=None)


@contextlib.contextmanager
def on(device: str | None = None, dtype: str | None = None) -> Iterator[None]:
    """Do the work inside on `device`, with activations in `dtype`; None leaves what holds outside.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: `float32` or `bfloat16`; weights stay in float32.

    Raises:
        UserError: this machine has no such device, or there is no such type.
    """
    if dtype is not None and dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if device is not None:
        _check(device)
    tokens = [(_device, _device.set(device or _device.get())), (_dtype, _dtype.set(dtype or _dtype.get()))]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)  # type: ignore[arg-type]


def device() -> str:
    """The device that was asked for; `cpu` where none was."""
    return _device.get()


def dtype() -> str | None:
    """The type that was asked for; None where it is left to the system."""
    return _dtype.get()


def autocast() -> contextlib.AbstractContextManager[object]:
    """Computes in the type that was asked for; does nothing where none was, or float32."""
    if _dtype.get() != "bfloat16":
        return contextlib.nullcontext()
    import torch

    return torch.autocast(torch.device(_device.get()).type, dtype=torch.bfloat16)


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
