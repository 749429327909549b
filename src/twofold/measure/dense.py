"""Figures of predictions at every pixel; pixels without a label do not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Figures = dict[str, float]
Each = NDArray[np.float64]


def class_maps(predicted: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> tuple[Figures, Each]:
    """Figures of class maps.

    Args:
        predicted, truth: `[n, height, width]`; truth below 0 is unlabelled.
        classes: how many there are.

    Returns:
        `miou`, the mean over classes (that are there, or are said to be) of the pixels that are both true and predicted
        among those that are either (Everingham et al. 2010), over all images together; `pixel_accuracy`. And each
        image's own `miou`, NaN where it has no label.
    """
    known = truth >= 0
    places = np.where(known, truth * classes + predicted, classes * classes)
    tables = np.stack([np.bincount(p.ravel(), minlength=classes * classes + 1) for p in places])[:, :-1]
    tables = tables.reshape(-1, classes, classes)
    whole = tables.sum(0)
    accuracy = np.trace(whole) / max(1, whole.sum())
    return {"miou": float(_overlap(whole[None])[0]), "pixel_accuracy": float(accuracy)}, _overlap(tables)


def _overlap(tables: NDArray[np.int64]) -> Each:
    hits = np.diagonal(tables, axis1=1, axis2=2).astype(np.float64)
    either = tables.sum(1) + tables.sum(2) - hits
    shares = np.divide(hits, either, out=np.full_like(hits, np.nan), where=either > 0)
    some = (either > 0).any(1)
    found = np.full(len(tables), np.nan)
    found[some] = np.nanmean(shares[some], axis=1)
    return found


def number_maps(predicted: NDArray[np.float32], truth: NDArray[np.float32]) -> tuple[Figures, Each]:
    """Figures of maps of numbers `[n, height, width]`; truth that is NaN is unlabelled.

    Returns:
        `rmse` and `mae` in the numbers' units; `r2`, the share of the variance over all pixels that is explained (0 for
        always saying the mean). And each image's part of `r2`, NaN where it has no label.
    """
    known = ~np.isnan(truth)
    wrong = np.where(known, predicted - np.nan_to_num(truth), 0.0).astype(np.float64)
    count = max(1, int(known.sum()))
    variance = float(truth[known].astype(np.float64).var()) if known.any() else 0.0
    mse = float((wrong**2).sum() / count)
    pixels = known.sum((1, 2))
    own = np.divide((wrong**2).sum((1, 2)), pixels, out=np.full(len(truth), np.nan), where=pixels > 0)
    figures = {"rmse": mse**0.5, "mae": float(abs(wrong).sum() / count), "r2": 1 - mse / variance if variance else 0.0}
    return figures, 1 - own / variance if variance else np.where(np.isnan(own), np.nan, 0.0)


def mark_maps(predicted: NDArray[np.bool_], truth: NDArray[np.float32]) -> tuple[Figures, Each]:
    """Figures of maps of marked pixels `[n, height, width]`; truth is 1, 0, or NaN where it is unlabelled.

    Returns:
        `f1`, `precision` and `recall` of single pixels, without any tolerance of place, over all images together; 1
        where nothing is marked and nothing is said to be. And each image's `f1`, NaN where it has no label.
    """
    known, marked = ~np.isnan(truth), np.nan_to_num(truth) > 0.5
    hits = (known & marked & predicted).sum((1, 2)).astype(np.float64)
    said, true = (known & predicted).sum((1, 2)), (known & marked).sum((1, 2))

    def share(part: Each | float, whole: Each | float) -> Each:
        whole = np.asarray(whole, np.float64)
        return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0)

    figures = {
        "f1": float(share(2 * hits.sum(), said.sum() + true.sum())),
        "precision": float(share(hits.sum(), said.sum())),
        "recall": float(share(hits.sum(), true.sum())),
    }
    return figures, np.where(known.any((1, 2)), share(2 * hits, said + true), np.nan)
