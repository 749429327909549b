"""Repairs in closed form: what the next linear layer can do about units that were cut.

Throughout, `weight [out, m]` is the linear layer that reads the units' activations `Z [n, m]`,
`gram` is ZᵀZ `[m, m]` and `kept [k]` are the columns that stay. All arithmetic is float64.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg


def fold(weight: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    """W · Tᵀ, `[out, k]`: the layer that reads Z[:, J] where Z ≈ Z[:, J] · T (STAT, Flynn et al. 2024)."""
    return np.asarray(weight, np.float64) @ transfer.T


def scales(gram: np.ndarray, weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """One factor per kept column, `[k]`, so that Z_J · diag(s) · W_Jᵀ comes nearest to Z · Wᵀ.

    The normal equations are (G ∘ WᵀW)_JJ · s = (G ∘ WᵀW)_J,: · 1.
    """
    weight = np.asarray(weight, np.float64)
    both = gram[kept] * (weight[:, kept].T @ weight)
    return linalg.lstsq(both[:, kept], both.sum(1), lapack_driver="gelsy")[0]


def shift(mean: np.ndarray, weight: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """What the cut columns add on average, `[out]`: added to the bias, it keeps the mean output."""
    cut = np.setdiff1d(np.arange(len(mean)), kept)
    return np.asarray(weight, np.float64)[:, cut] @ mean[cut]


def output_error(gram: np.ndarray, weight: np.ndarray, kept: np.ndarray, repaired: np.ndarray) -> float:
    """‖Z·Wᵀ − Z_J·W'ᵀ‖_F / ‖Z·Wᵀ‖_F for the layer W' = `repaired [out, k]` that took W's place (biases apart)."""
    change = np.array(weight, dtype=np.float64)
    whole = np.einsum("om,mn,on->", change, gram, change, optimize=True)
    change[:, kept] -= repaired
    lost = np.einsum("om,mn,on->", change, gram, change, optimize=True)
    return float(np.sqrt(max(lost, 0.0) / whole)) if whole > 0 else 0.0
