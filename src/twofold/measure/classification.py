"""Figures of predicted classes, sets of labels and numbers: through scikit-learn, with one figure for every item.

Each kind has a main figure that is a mean over items, so that two models can be compared item by item.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Figures = dict[str, float]

BINS = 15
_SMALL = 1e-7


def one_label(probabilities: Floats, truth: NDArray[np.int64]) -> tuple[Figures, dict[str, Floats]]:
    """Figures of one class an item.

    Args:
        probabilities: `[n, classes]`, rows add up to 1.
        truth: the class of each item, `[n]`.

    Returns:
        `accuracy`, `balanced_accuracy` (mean recall of the classes that occur), `macro_f1` (over the classes that
        occur or are predicted), `log_loss` in nats, `calibration_error`; and each item's share of the first two, whose
        means they are.
    """
    from sklearn.metrics import f1_score

    predicted = probabilities.argmax(1)
    right = (predicted == truth).astype(np.float64)
    counts = np.bincount(truth, minlength=probabilities.shape[1])
    balanced = right * len(truth) / (np.count_nonzero(counts) * counts[truth])
    told = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    figures = {
        "accuracy": right.mean(),
        "balanced_accuracy": balanced.mean(),
        "macro_f1": f1_score(truth, predicted, average="macro", zero_division=0),
        "log_loss": -np.log(np.clip(told, _SMALL, 1)).mean(),
        "calibration_error": calibration_error(probabilities.max(1), right),
    }
    return _plain(figures), {"accuracy": right, "balanced_accuracy": balanced}


def many_labels(probabilities: Floats, truth: NDArray[np.bool_]) -> tuple[Figures, dict[str, Floats]]:
    """Figures of any number of labels an item, each taken where its probability is at least one half.

    Args:
        probabilities: `[n, labels]`, each in [0, 1].
        truth: which labels each item has, `[n, labels]`.

    Returns:
        `sample_f1` (mean over items; 1 where nothing is there and nothing is predicted), `macro_f1`, `micro_f1`,
        `exact` (all labels right), `calibration_error` over single decisions; and each item's F1.
    """
    from sklearn.metrics import f1_score

    predicted = probabilities >= 0.5
    hits, sizes = (predicted & truth).sum(1), predicted.sum(1) + truth.sum(1)
    each = np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 1.0)
    sure = np.where(predicted, probabilities, 1 - probabilities).ravel()
    figures = {
        "sample_f1": each.mean(),
        "macro_f1": f1_score(truth, predicted, average="macro", zero_division=0),
        "micro_f1": f1_score(truth, predicted, average="micro", zero_division=0),
        "exact": (predicted == truth).all(1).mean(),
        "calibration_error": calibration_error(sure, (predicted == truth).ravel().astype(np.float64)),
    }
    return _plain(figures), {"sample_f1": each}


def numbers(predicted: Floats, truth: Floats) -> tuple[Figures, dict[str, Floats]]:
    """Figures of predicted numbers.

    Args:
        predicted, truth: `[n]`.

    Returns:
        `r2` (the share of the variance that is explained; 0 for always saying the mean), `mae`, `rmse`, `spearman`;
        and each item's share of `r2`.
    """
    from scipy.stats import spearmanr

    predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
    wrong = (predicted - truth) ** 2
    variance = truth.var()
    each = 1 - wrong / variance if variance > 0 else np.where(wrong == 0, 1.0, 0.0)
    varied = len(truth) > 1 and variance > 0 and predicted.std() > 0
    figures = {
        "r2": each.mean(),
        "mae": np.abs(predicted - truth).mean(),
        "rmse": np.sqrt(wrong.mean()),
        "spearman": spearmanr(predicted, truth).statistic if varied else 0.0,
    }
    return _plain(figures), {"r2": each}


def calibration_error(confidence: Floats, right: Floats, bins: int = BINS) -> float:
    """How far confidence and accuracy lie apart, on average over items: the expected calibration error.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3: items fall into `bins` equal parts of [0, 1].

    Args:
        confidence: the probability of what was predicted, `[n]`, in [0, 1].
        right: 1 where that was true, else 0, `[n]`.
    """
    if not len(confidence):
        return 0.0
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def confusion(predicted: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How often class i (row) was taken for class j (column): `[classes, classes]`."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def most_confused(table: NDArray[np.int64], labels: Sequence[str], most: int = 20) -> list[tuple[str, str, int, int]]:
    """The commonest mistakes: true class, predicted class, how often, of how many of that class."""
    wrong = table.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = zip(*np.unravel_index(order, wrong.shape), strict=True)
    totals = table.sum(1)
    return [(labels[i], labels[j], int(wrong[i, j]), int(totals[i])) for i, j in places if wrong[i, j]]


def _plain(figures: dict[str, np.floating | float]) -> Figures:
    return {name: float(value) for name, value in figures.items()}
