"""Whether a newer model may ask an older one's gallery: accuracy of every pair of models, and what it comes to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def matrix(
    queries: Sequence[np.ndarray],
    galleries: Sequence[np.ndarray],
    asked: np.ndarray,
    known: np.ndarray,
) -> Matrix:
    """`C[i, j]`: share of queries, by model i, whose nearest gallery item by cosine, by model j, is of their class.

    Args:
        queries, galleries: features `[n, d]` and `[m, d]` by each model.
        asked, known: classes of the queries and of the gallery.
    """
    q, g = ([_unit(features) for features in each] for each in (queries, galleries))
    found = np.zeros((len(q), len(g)))
    for j, b in enumerate(g):
        for i, a in enumerate(q):
            found[i, j] = float((known[(a @ b.T).argmax(1)] == asked).mean())
    return found


def average_compatibility(accuracy: Matrix) -> float:
    """AC: share of pairs i > j in which the newer model does better on the older gallery than the older one."""
    newer, older = np.tril_indices(len(accuracy), -1)
    return float((accuracy[newer, older] > accuracy[older, older]).mean()) if len(newer) else 0.0


def average_accuracy(accuracy: Matrix) -> float:
    """AA: mean over models and the galleries of their own and older ones."""
    return float(accuracy[np.tril_indices(len(accuracy))].mean())


def _unit(features: np.ndarray) -> np.ndarray:
    values = features.astype(np.float64)
    unit: np.ndarray = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit
