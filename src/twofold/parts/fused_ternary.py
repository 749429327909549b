"""Look-ups of a ternary product, compiled by numba: each byte's worth is added as it is found, and nothing is written
but the sums.

Imported where numba is installed (`pip install twofold[fast]`); `ternary.table_product` says what is computed.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from torch import Tensor

from twofold.parts.compiled import arrays, each, summing

_PIECE = 1 << 22  # look-ups that are worth a thread


@summing
@no_type_check
def _look_up(codes, worth, out):
    """`codes` `[K, R]`, `worth` `[N, K, 256]`, `out` `[N, R]`."""
    rows = codes.shape[1]
    for n in range(worth.shape[0]):
        sums = out[n]
        for r in range(rows):
            sums[r] = np.float32(0.0)
        for k in range(codes.shape[0]):
            known, found = worth[n, k], codes[k]
            for r in range(rows):
                sums[r] += known[found[r]]


def look_up(codes: Tensor, worth: Tensor) -> Tensor:
    """`Σ_k worth[n, k, codes[k, r]]`.

    Args:
        codes: uint8 `[K, R]`, on a processor.
        worth: float32 `[N, K, 256]`.

    Returns:
        `[N, R]`.
    """
    worth, found = worth.contiguous(), worth.new_empty(len(worth), codes.shape[1])
    size = max(1, _PIECE // len(codes))
    pieces = [slice(i, i + size) for i in range(0, codes.shape[1], size)]

    def work(_: int, rows: slice) -> None:
        part, sums = codes[:, rows].contiguous(), found[:, rows].contiguous()
        _look_up(*arrays(part, worth, sums))
        found[:, rows] = sums

    each(work, pieces)
    return found
