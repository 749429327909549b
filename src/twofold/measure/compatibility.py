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
    classes: Sequence[np.ndarray] | None = None,
) -> Matrix:
    """`C[i, j]`: share of queries, by model i, whose nearest gallery item by cosine, by model j, is of their class.

    Args:
        queries, galleries: features `[n, d]` and `[m, d]` by each model.
        asked, known: classes of the queries and of the gallery.
        classes: those that are in each model's gallery, and asked for there; None: all.
    """
    q, g = ([_unit(features) for features in each] for each in (queries, galleries))
    found = np.zeros((len(q), len(g)))
    for j, b in enumerate(g):
        here, held = (np.ones(len(of), bool) if classes is None else np.isin(of, classes[j]) for of in (asked, known))
        for i, a in enumerate(q):
            nearest = known[held][(a[here] @ b[held].T).argmax(1)]
            found[i, j] = float((nearest == asked[here]).mean())
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
