"""Orthogonal projection loss: answers along the query, everything else at right angles to it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from twofold.objectives.loss import Loss


def orthogonal(
    queries: Float[Tensor, "batch dim"],
    documents: Float[Tensor, "candidates dim"],
    owners: Int[Tensor, "negatives"] | None = None,
) -> Loss:
    """`(1 − cos(q, d⁺))² + Σ cos(q, d⁻)²` over a query's own negatives, the mean over queries.

    Saad-Falcon et al. 2024, https://arxiv.org/abs/2402.07440, section 4.3: it needs no batch of queries, so one query
    with its negatives is enough.

    Args:
        queries: vectors of any length.
        documents: the answer of each query, in order, then negatives.
        owners: the row of the query that each negative belongs to; None: each belongs to every query.
    """
    q, d = F.normalize(queries.float(), dim=-1), F.normalize(documents.float(), dim=-1)
    cosines, count = q @ d.T, len(queries)
    right, wrong = cosines[:, :count].diagonal(), cosines[:, count:].square()
    if owners is not None:
        wrong = wrong * (owners[None, :] == torch.arange(count, device=owners.device)[:, None])
    value = ((1 - right).square() + wrong.sum(1)).mean()
    accuracy = (cosines.detach().argmax(1) == torch.arange(count, device=cosines.device)).float().mean()
    return Loss(value, {"loss": value.detach(), "accuracy": accuracy})
