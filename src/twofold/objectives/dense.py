"""Losses of predictions at every pixel, averaged over the pixels that are labelled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from twofold.objectives.loss import IGNORED, Loss, average, full_precision


def pixel_classes(logits: Float[Tensor, "batch classes *place"], truth: Int[Tensor, "batch *place"]) -> Loss:
    """Cross-entropy in nats over the pixels whose class is not `IGNORED`; figure `loss`."""
    losses = F.cross_entropy(full_precision(logits), truth, ignore_index=IGNORED, reduction="none")
    return _mean(losses, truth != IGNORED)


def pixel_numbers(given: Float[Tensor, "batch 1 *place"], truth: Float[Tensor, "batch *place"]) -> Loss:
    """Squared difference over the pixels whose number is known (not NaN); figure `loss`."""
    known = ~truth.isnan()
    return _mean((full_precision(given[:, 0]) - truth.nan_to_num()).square(), known)


def pixel_marks(
    logits: Float[Tensor, "batch 1 *place"], truth: Float[Tensor, "batch *place"], weight: float = 1.0
) -> Loss:
    """Cross-entropy in nats of marked or not (1 or 0), over the pixels where that is known (not NaN); figure `loss`.

    Args:
        weight: how much a marked pixel counts, against 1 for others.
    """
    given, wanted = full_precision(logits[:, 0]), truth.nan_to_num()
    losses = F.binary_cross_entropy_with_logits(given, wanted, reduction="none") * (1 + (weight - 1) * wanted)
    return _mean(losses, ~truth.isnan())


def _mean(losses: Tensor, counted: Tensor) -> Loss:
    value = average(torch.where(counted, losses, 0.0), counted)
    return Loss(value, {"loss": value.detach()})
