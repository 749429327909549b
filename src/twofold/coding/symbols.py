"""Symbols of a small alphabet as bits: each takes as many as the alphabet needs, rows begin at a byte."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.errors import UserError

Bytes = NDArray[np.uint8]


def width(size: int) -> int:
    """Bits of one of `size` symbols.

    Raises:
        UserError: fewer than 2 symbols, or more than 65,536.
    """
    if not 2 <= size <= 1 << 16:
        raise UserError(f"codes of {size} symbols; there must be 2 to 65,536")
    return (size - 1).bit_length()


def pack(symbols: NDArray[Any], size: int) -> Bytes:
    """Symbols `[n, length]`, each below `size`, as bytes `[n, ⌈length · width / 8⌉]`.

    Raises:
        UserError: a symbol that is none of them.
    """
    values = np.asarray(symbols)
    bits = width(size)
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < size:
        raise UserError(f"codes hold the symbols {values.min()} to {values.max()}; they must be 0 to {size - 1}")
    each = values[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(each.reshape(len(values), values.shape[1] * bits).astype(np.uint8), axis=1)


def shaped(packed: Bytes, length: int, size: int) -> int:
    """Bits of a symbol in bytes that have the shape of such codes; what they hold is not read.

    Raises:
        UserError: bytes of another shape.
    """
    bits = width(size)
    if packed.ndim != 2 or packed.dtype != np.uint8 or packed.shape[1] != -(-length * bits // 8):
        raise UserError(
            f"{length} symbols of {bits} bits take {-(-length * bits // 8)} bytes, not {packed.dtype} "
            f"{list(packed.shape)}; the codes are damaged"
        )
    return bits


def unpack(packed: Bytes, length: int, size: int) -> NDArray[np.int64]:
    """The symbols `[n, length]` that `pack` was given.

    Raises:
        UserError: bytes that are no such codes.
    """
    bits = shaped(packed, length, size)
    each = np.unpackbits(packed, axis=1, count=length * bits).reshape(len(packed), length, bits)
    values: NDArray[np.int64] = each.astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))
    if values.size and int(values.max()) >= size:
        raise UserError(f"codes hold the symbol {values.max()}, and there are {size}; the codes are damaged")
    return values
