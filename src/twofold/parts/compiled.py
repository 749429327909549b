"""What passes that numba compiles have in common: an exponential, and pieces side by side on torch's threads.

Imported where numba is installed (`pip install twofold[fast]`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, no_type_check

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

compiled: Callable[..., Any] = numba.njit(
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"contract", "nsz"},  # else a division looks for zeros
)
summing: Callable[..., Any] = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath=True
)  # may add in another order


@intrinsic
@no_type_check  # numba reads the function itself, without what a type checker may put around it
def _power_of_two(context: Any, exponent: Any) -> Any:
    """2^exponent by writing the exponent of a float32; -126 to 127."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        biased = builder.add(given[0], ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.int32), generate


@compiled
@no_type_check
def exp(x: np.float32) -> np.float32:
    """e^x to about one unit of the last place, in steps that a processor does for eight numbers at once: a power of
    two, and a polynomial for what is left (the coefficients are those of Cephes' `expf`, S. Moshier)."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    scaled = x * np.float32(1.44269504) + np.float32(0.5)
    whole = np.int32(scaled)
    whole = whole - np.int32(np.float32(whole) > scaled)
    r = x - np.float32(whole) * np.float32(0.693359375)
    r = r + np.float32(whole) * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * r * r + r + np.float32(1.0)) * _power_of_two(whole)


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The same numbers, for a compiled pass."""
    return [tensor.detach().numpy() for tensor in tensors]


def each(work: Callable[[int, slice], None], pieces: Sequence[slice]) -> None:
    """Does the pieces, side by side on as many threads as torch has; the first is done by the caller's own."""
    if torch.get_num_threads() == 1 or len(pieces) < 2:
        for i, piece in enumerate(pieces):
            work(i, piece)
        return
    inference = torch.is_inference_mode_enabled()  # a thread does not take it over from the one that starts it

    def apart(i: int) -> None:
        with torch.no_grad(), torch.inference_mode(inference):
            work(i, pieces[i])

    others = [_pool().submit(apart, i) for i in range(1, len(pieces))]
    work(0, pieces[0])
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1), "compiled-pass")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads stay with the parent


class Rows(NamedTuple):
    """`[B, T, ...]` whose positions are each in one piece, as flat memory, and how far rows and positions are apart."""

    flat: np.ndarray
    row: int
    step: int

    @classmethod
    def of(cls, x: Tensor) -> Rows:
        """Copies only where features do not lie side by side."""
        x = x.detach().flatten(2) if x.dim() > 3 else x.detach()
        x = x if x.stride(-1) == 1 and min(x.stride()) > 0 else x.contiguous()
        span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
        return cls(x.as_strided((span,), (1,)).numpy(), x.stride(0), x.stride(1))
