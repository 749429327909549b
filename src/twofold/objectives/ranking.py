"""Learning to rank: losses of scores against grades. One function each.

A row of `scores` holds one query's candidates. `counted` is False at places that hold no candidate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from twofold.objectives.loss import Loss, average, full_precision

Scores = Float[Tensor, "queries candidates"]
Counted = Bool[Tensor, "queries candidates"]


def pointwise(scores: Scores, grades: Scores, counted: Counted | None = None, positive_weight: float = 1.0) -> Loss:
    """Every candidate by itself: cross-entropy of sigmoid(score) and its grade, in nats; figure `loss`.

    Args:
        grades: 0 to 1, the probability that the candidate answers.
        positive_weight: how much an answer counts beside a candidate that is none.
    """
    scores = full_precision(scores)
    losses = F.binary_cross_entropy_with_logits(
        scores, full_precision(grades), pos_weight=scores.new_tensor(positive_weight), reduction="none"
    )
    return _loss(average(losses, counted))


def pairwise(scores: Scores, grades: Scores, counted: Counted | None = None) -> Loss:
    """RankNet: `log(1 + exp(s_j − s_i))` over all pairs with a higher grade at i; figure `loss`.

    Burges et al. 2005, https://doi.org/10.1145/1102351.1102363
    """
    margins, ordered = _pairs(scores, grades, counted)
    return _loss(average(F.softplus(-margins), ordered))


def hinge(scores: Scores, grades: Scores, margin: float = 1.0, counted: Counted | None = None) -> Loss:
    """`max(0, margin − (s_i − s_j))` over all pairs with a higher grade at i; figure `loss`.

    Herbrich et al. 2000, "Large Margin Rank Boundaries for Ordinal Regression".
    """
    margins, ordered = _pairs(scores, grades, counted)
    return _loss(average(F.relu(margin - margins), ordered))


def list_softmax(scores: Scores, grades: Scores, counted: Counted | None = None) -> Loss:
    """ListNet's top one: cross-entropy of the softmax over a query's candidates with its grades' shares, in nats.

    Cao et al. 2007, https://doi.org/10.1145/1273496.1273513, with the grades themselves for the target's
    exponentials, so that one positive gives the usual softmax loss. Queries without a positive grade do not count.
    Figures `loss` and `accuracy` (the share of queries whose best candidate has a positive grade).
    """
    return poly_softmax(scores, grades, counted, 0.0)


def poly_softmax(scores: Scores, grades: Scores, counted: Counted | None = None, epsilon: float = 1.0) -> Loss:
    """`list_softmax` plus `epsilon · Σ y (1 − softmax(s))`, y being the grades' shares; the same figures.

    Leng et al. 2022 (PolyLoss), https://arxiv.org/abs/2204.12511; for ranking, Zhuang et al. 2022,
    https://arxiv.org/abs/2210.10634, section 4.3.
    """
    counted = torch.ones_like(scores, dtype=torch.bool) if counted is None else counted
    scores = full_precision(scores).masked_fill(~counted, float("-inf"))
    grades = full_precision(grades).masked_fill(~counted, 0.0)
    total = grades.sum(1, keepdim=True)
    shares = grades / total.clamp_min(torch.finfo(grades.dtype).tiny)
    asked = total[:, 0] > 0
    logs = scores.log_softmax(1).masked_fill(~counted, 0.0)
    losses = -(shares * logs).sum(1)
    if epsilon:
        losses = losses + epsilon * (shares * (1 - logs.exp())).sum(1)
    best = scores.detach().argmax(1, keepdim=True)
    right = average((grades.gather(1, best)[:, 0] > 0).to(scores.dtype), asked)
    value = average(losses.masked_fill(~asked, 0.0), asked)
    return Loss(value, {"loss": value.detach(), "accuracy": right})


def margin_mse(
    positive: Float[Tensor, "triples"], negative: Float[Tensor, "triples"], teacher: Float[Tensor, "triples"]
) -> Loss:
    """Squared difference between the student's margin `positive − negative` and the teacher's; figure `loss`.

    Hofstätter et al. 2020, https://arxiv.org/abs/2010.02666

    Args:
        positive, negative: the student's scores of the documents of each triple.
        teacher: the teacher's score of the positive minus that of the negative; it receives no gradient.
    """
    difference = full_precision(positive) - full_precision(negative) - full_precision(teacher.detach())
    return _loss(average(difference.square()))


def _pairs(scores: Tensor, grades: Tensor, counted: Tensor | None) -> tuple[Tensor, Tensor]:
    """`s_i − s_j` of all pairs, `[Q, C, C]`, and which of them are ordered by their grades."""
    scores = full_precision(scores)
    ordered = grades[:, :, None] > grades[:, None, :]
    if counted is not None:
        ordered = ordered & counted[:, :, None] & counted[:, None, :]
    return scores[:, :, None] - scores[:, None, :], ordered


def _loss(value: Tensor) -> Loss:
    return Loss(value, {"loss": value.detach()})
