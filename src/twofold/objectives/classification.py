"""Losses of predicting classes, sets of labels and numbers; each is a mean over the batch."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from twofold.objectives.loss import Loss, average, full_precision
from twofold.objectives.ranks import joined, total


def classes(
    logits: Float[Tensor, "batch classes"],
    targets: Int[Tensor, "batch"],
    weights: Float[Tensor, "classes"] | None = None,
    smoothing: float = 0.0,
) -> Loss:
    """Cross-entropy of one class an item.

    Args:
        weights: how much an item of each class counts; the loss is divided by the weights of the batch.
        smoothing: share of the target that is spread over all classes, in [0, 1).
            Szegedy et al. 2016, https://arxiv.org/abs/1512.00567

    Returns:
        The loss in nats; figures `loss` and `accuracy`.
    """
    scores = full_precision(logits)
    each = F.cross_entropy(scores, targets, reduction="none", label_smoothing=smoothing)
    if weights is None:
        value = average(each)
    else:
        weight = weights.to(each)[targets]
        value = (each * weight).sum() * joined() / total(weight.sum())
    right = average((scores.detach().argmax(1) == targets).float())
    return Loss(value, {"loss": value.detach(), "accuracy": right})


def labels(
    logits: Float[Tensor, "batch labels"],
    targets: Float[Tensor, "batch labels"],
    weights: Float[Tensor, "labels"] | None = None,
) -> Loss:
    """Binary cross-entropy of every label.

    Args:
        targets: 1 where the item has the label, else 0.
        weights: how much a label that is there counts beside one that is not.

    Returns:
        The mean over items and labels in nats; figure `loss`.
    """
    each = F.binary_cross_entropy_with_logits(full_precision(logits), targets, pos_weight=weights, reduction="none")
    value = average(each)
    return Loss(value, {"loss": value.detach()})


def numbers(outputs: Float[Tensor, "batch 1"], targets: Float[Tensor, "batch"]) -> Loss:
    """Mean squared error of one number an item; figure `loss`."""
    value = average((full_precision(outputs)[:, 0] - targets) ** 2)
    return Loss(value, {"loss": value.detach()})
