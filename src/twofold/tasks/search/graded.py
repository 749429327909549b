"""Similarity of texts as another model grades it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twofold.errors import UserError
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.vectors import Dense


def graded_pairs(texts: Sequence[str], grader: EncoderModel) -> tuple[np.ndarray, np.ndarray]:
    """Pairs `[n, 2]` of texts, each with the next one and with its nearest by the grader; and their grades, cosines."""
    alike = _cosines(grader, texts)
    count = len(texts)
    nearest = np.where(np.eye(count, dtype=bool), -np.inf, alike).argmax(1)
    rows = np.arange(count)
    pairs = np.concatenate([np.stack([rows, (rows + 1) % count], 1), np.stack([rows, nearest], 1)])
    return pairs, alike[pairs[:, 0], pairs[:, 1]]


def agreement(model: EncoderModel, texts: Sequence[str], grader: EncoderModel) -> tuple[float, np.ndarray]:
    """Spearman's rank correlation of a model's cosines with the grades; and how far each pair's two ranks differ.

    Raises:
        UserError: fewer than 8 texts.
    """
    if len(texts) < 8:
        raise UserError(f"{len(texts)} texts are too few to compare similarities on; give at least 8")
    from scipy.stats import spearmanr  # most of the time that loading this package takes, and few need it

    pairs, grades = graded_pairs(texts, grader)
    found = _cosines(model, texts)[pairs[:, 0], pairs[:, 1]]
    off = np.abs(found.argsort().argsort() - grades.argsort().argsort()) / len(grades)
    return float(spearmanr(found, grades).statistic), 1 - off


def _cosines(model: EncoderModel, texts: Sequence[str]) -> np.ndarray:
    vectors = model.encode(texts)
    if not isinstance(vectors, Dense):
        raise UserError(f"{model.name} does not give one vector a text, so texts have no cosine")
    values = np.asarray(vectors.values, np.float64)
    values = values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-12)
    return values @ values.T
