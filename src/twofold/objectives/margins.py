"""Margin losses of triples: how far apart an answer and a wrong document shall be for their query.

Gienapp et al. 2024, "Learning Effective Representations for Retrieval Using Self-Distillation with Adaptive Relevance
Margins", https://arxiv.org/abs/2407.21515. All similarities are cosines; vectors need not have unit length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.objectives import ranks
from twofold.objectives.loss import Loss, full_precision

Vectors = Float[Tensor, "triples dim"]
Error = Callable[[Tensor], Tensor]


def squared(difference: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`(Δ − t)²`."""
    return difference.square()


def absolute(difference: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`|Δ − t|`."""
    return difference.abs()


def soft(difference: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`log(1 + exp(−(Δ − t)))`: margins beyond their target go on counting for something."""
    return F.softplus(-difference)


ERRORS: Mapping[str, Error] = {"squared": squared, "absolute": absolute, "soft": soft}
"""How a margin is held against its target, by name."""


def static(
    queries: Vectors,
    positives: Vectors,
    negatives: Vectors,
    target: float = 0.5,
    error: Error = squared,
    in_batch: bool = False,
) -> Loss:
    """The same target for every margin.

    Args:
        queries, positives, negatives: one vector for each of a triple's texts.
        target: the margin that is wanted, a difference of cosines.
        error: one of `ERRORS`.
        in_batch: also hold each query against the other triples' negatives.

    Returns:
        The mean over margins; figures `loss`, and the means of `margin` and `target`.
    """
    found, _, _ = _margins(queries, positives, negatives, in_batch)
    return _loss(found, found.new_tensor(target), error)


def adaptive(
    queries: Vectors,
    positives: Vectors,
    negatives: Vectors,
    error: Error = squared,
    in_batch: bool = False,
    detach: bool = False,
) -> Loss:
    """The likeness of a triple's two documents is its target: `Δ_i` against `(cos(d⁺_i, d⁻_i) + 1) / 2`.

    Args:
        in_batch: also hold each query against the other triples' negatives, each with a target of its own.
        detach: let no gradient flow through the targets.
    """
    found, right, wrong = _margins(queries, positives, negatives, in_batch)
    targets = _targets(right, wrong, detach)
    return _loss(found, targets if in_batch else targets.diagonal()[:, None], error)


def distributed(
    queries: Vectors, positives: Vectors, negatives: Vectors, error: Error = squared, detach: bool = False
) -> Loss:
    """Every margin against the likeness of every two documents of the batch: `Δ_j` against `(cos(d⁺_i, d⁻_j) + 1) / 2`.

    Args:
        detach: let no gradient flow through the targets.
    """
    found, right, wrong = _margins(queries, positives, negatives, False)
    return _loss(found.T, _targets(right, wrong, detach), error)


def _margins(queries: Tensor, positives: Tensor, negatives: Tensor, in_batch: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Margins `[B, 1]`, or `[B, B]` against every negative; and the documents' unit vectors."""
    unit = [F.normalize(full_precision(vectors), dim=-1) for vectors in (queries, positives, negatives)]
    asked, right, wrong = (ranks.gather(v) if ranks.joined() > 1 else v for v in unit)
    with torch.autocast(asked.device.type, enabled=False):
        far = asked @ wrong.T if in_batch else (asked * wrong).sum(1, keepdim=True)
        return (asked * right).sum(1, keepdim=True) - far, right, wrong


def _targets(right: Tensor, wrong: Tensor, detach: bool) -> Tensor:
    """`(cos + 1) / 2` of every answer `[B]` with every wrong document `[B]`."""
    with torch.autocast(right.device.type, enabled=False):
        targets = (right @ wrong.T + 1) / 2
    return targets.detach() if detach else targets


def _loss(margins: Tensor, targets: Tensor, error: Error) -> Loss:
    value = error(margins - targets).mean()
    return Loss(value, {"loss": value.detach(), "margin": margins.detach().mean(), "target": targets.detach().mean()})
