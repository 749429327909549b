"""Interpolative decomposition: a matrix written in some of its own columns, Z ≈ Z[:, J] · T.

Columns are taken in the order of a pivoted QR (single columns: Businger & Golub 1965), or in whole blocks of
columns, always the one with the largest residual. All arithmetic is float64.
Source: Cheng, Gimbutas, Martinsson & Rokhlin 2005, "On the compression of low rank matrices".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from twofold.errors import UserError

_FLAT = 1e-12  # below this share of the largest pivot a direction counts as absent in float64


@dataclass(frozen=True)
class Interpolation:
    """Z ≈ Z[:, kept] · transfer.

    Attributes:
        kept: the columns that stay, ascending, `[k]`.
        transfer: T, `[k, m]`; `transfer[:, kept]` is the identity.
        residual: ‖Z − Z[:, kept] · T‖_F, which is ‖R₂₂‖_F of the factorisation.
    """

    kept: np.ndarray
    transfer: np.ndarray
    residual: float


@dataclass(frozen=True)
class Pivoted:
    """A pivoted QR factorisation of `Z [n, m]`, whose columns come in blocks of `width`.

    Attributes:
        order: the blocks in the order in which they were taken, `[m / width]`.
        norms: each block's residual norm when it was taken (abs(R_kk) for single columns), never rising.
        r: R of `Z[:, columns]`, upper triangular, `[m, m]`.
        width: columns per block.
    """

    order: np.ndarray
    norms: np.ndarray
    r: np.ndarray
    width: int = 1

    @property
    def ratios(self) -> np.ndarray:
        """Each block's norm relative to the first one's, from 1 down: what the tolerance ε is compared with."""
        return self.norms / self.norms[0] if self.norms[0] > 0 else np.zeros_like(self.norms)

    def rank(self, tolerance: float) -> int:
        """How many blocks lie above the tolerance ε; at least one."""
        return max(1, int(np.count_nonzero(self.ratios > tolerance)))

    def take(self, k: int) -> Interpolation:
        """The interpolation from the first `k` blocks; T is the least-squares one.

        Raises:
            ValueError: `k` is not between 1 and the number of blocks.
        """
        if not 1 <= k <= len(self.order):
            raise ValueError(f"between 1 and {len(self.order)} blocks can be kept, not {k}")
        count = k * self.width
        columns = (self.order[:, None] * self.width + np.arange(self.width)).ravel()
        tail = _solve(self.r[:count, :count], self.r[:count, count:])
        transfer = np.empty((count, len(columns)))
        transfer[:, columns[:count]] = np.eye(count)
        transfer[:, columns[count:]] = tail
        rows = np.argsort(columns[:count])
        return Interpolation(columns[:count][rows], transfer[rows], float(np.linalg.norm(self.r[count:, count:])))


def _solve(r: np.ndarray, right: np.ndarray) -> np.ndarray:
    """R⁻¹ · right; the least solution where kept columns depend on one another."""
    pivots = np.abs(np.diag(r))
    if pivots.min() > _FLAT * pivots.max():
        return linalg.solve_triangular(r, right)
    return linalg.lstsq(r, right, cond=_FLAT)[0]


def root(gram: np.ndarray) -> np.ndarray:
    """A square matrix A `[m, m]` with AᵀA = `gram` = ZᵀZ: it has the pivots and the R of Z itself.

    By Cholesky factorisation with pivots (LAPACK `pstrf`), which rank-deficient matrices pass as well.
    Residuals below about 1e-8 of the largest column are lost to the squaring.
    """
    m = len(gram)
    upper, pivots, rank, _ = linalg.lapack.dpstrf(gram, lower=0)
    upper = np.triu(upper)
    upper[rank:] = 0.0
    out = np.empty((m, m))
    out[:, pivots - 1] = upper
    return out


def pivoted(z: np.ndarray) -> Pivoted:
    """The column-pivoted QR of `z [n, m]`.

    Raises:
        UserError: fewer rows than columns.
    """
    square = _square(z)
    r, order = linalg.qr(square, mode="r", pivoting=True, overwrite_a=True, check_finite=False)
    return Pivoted(order.astype(np.int64), np.abs(np.diag(r)), r)


def block_pivoted(z: np.ndarray, width: int) -> Pivoted:
    """The QR of `z [n, m]` that takes whole blocks of `width` columns.

    At each step the block with the largest residual Frobenius norm is taken and projected out of the others.

    Raises:
        UserError: fewer rows than columns.
        ValueError: `width` does not divide m.
    """
    if z.shape[1] % width:
        raise ValueError(f"{z.shape[1]} columns do not come in blocks of {width}")
    square = _square(z)
    rest = square.copy()
    left = list(range(z.shape[1] // width))
    order, norms = [], []
    floor = _FLAT * np.linalg.norm(square)
    while left:
        sizes = [float(np.linalg.norm(rest[:, b * width : (b + 1) * width])) for b in left]
        best = int(np.argmax(sizes))
        block = left.pop(best)
        order.append(block)
        norms.append(sizes[best])
        u, s, _ = linalg.svd(rest[:, block * width : (block + 1) * width], full_matrices=False)
        basis = u[:, s > floor]
        rest -= basis @ (basis.T @ rest)
    columns = (np.array(order)[:, None] * width + np.arange(width)).ravel()
    r = linalg.qr(square[:, columns], mode="r", check_finite=False)[0]
    return Pivoted(np.array(order), np.minimum.accumulate(norms), r, width)


def _square(z: np.ndarray) -> np.ndarray:
    """`z`, or where it is taller than wide the R of its plain QR, which has the same pivots and costs less."""
    z = np.asarray(z, dtype=np.float64)
    n, m = z.shape
    if n < m:
        raise UserError(f"{n} rows cannot say which of {m} columns depend on one another: at least {m} are needed")
    return z.copy() if n == m else linalg.qr(z, mode="r", check_finite=False)[0][:m]
