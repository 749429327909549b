"""Features that stay where an older model's are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.objectives.loss import Loss


def aligned(
    new: Float[Tensor, "batch dim"], old: Float[Tensor, "batch dim"], labels: Int[Tensor, "batch"], scale: float = 10.0
) -> Loss:
    """Each new feature to the old one of its item, and away from the old ones of other classes' items.

    Biondi et al. 2024, https://arxiv.org/abs/2405.02581, the higher-order compatibility loss:
    `mean_i −μ⟨o_i, n_i⟩ + log Σ_{j: y_j ≠ y_i} exp(μ⟨o_i, n_j⟩)`, with features at unit length.

    Args:
        new: features that are trained.
        old: of the same items, by the older model; no gradient.
        labels: of the items.
        scale: μ, above 0.

    Raises:
        UserError: an item without another class in the batch.
    """
    other = labels[:, None] != labels
    if not bool(other.any(1).all()):
        raise UserError("a batch holds one class only, so features have nothing to keep away from; give larger batches")
    o, n = F.normalize(old.detach().float(), dim=-1), F.normalize(new.float(), dim=-1)
    scores = scale * o @ n.T
    value = (scores.masked_fill(~other, -torch.inf).logsumexp(1) - scores.diagonal()).mean()
    return Loss(value, {"loss": value.detach(), "cosine": (o * n).sum(1).mean().detach()})
