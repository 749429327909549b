"""Mutual information between codes and labels, estimated from one batch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.objectives.loss import Loss

_LEAST = 1e-8
Chances = Float[Tensor, "batch length size"]


def entropy(chances: Float[Tensor, "*shape size"]) -> Float[Tensor, "*shape"]:
    """−Σ p log p, in nats; probabilities below 1e-8 count as that."""
    return -(chances * chances.clamp_min(_LEAST).log()).sum(-1)


def information(chances: Chances, labels: Int[Tensor, "batch"]) -> Float[Tensor, "length"]:
    """I(Z_i; Y) of every symbol, in nats: H of the batch's mean distribution, less its mean over the classes' own.

    Lee et al. 2022, https://arxiv.org/abs/1905.11656, section 3: probabilities are averaged before the entropy.
    Between 0 and min(log size, H(Y)).

    Raises:
        UserError: a batch of one class, which says nothing about classes.
    """
    classes, place, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise UserError("a batch holds one class only, so codes have nothing to tell apart; give larger batches")
    share = torch.zeros(len(classes), len(labels), device=chances.device, dtype=chances.dtype)
    share[place, torch.arange(len(labels), device=chances.device)] = 1.0
    means = torch.einsum("cb,blk->clk", share / counts[:, None], chances)
    within = torch.einsum("c,cl->l", counts.to(chances.dtype) / len(labels), entropy(means))
    return entropy(chances.mean(0)) - within


def redundancy(chances: Chances) -> Float[Tensor, ""]:
    """Σ_{i<j} KL(E[p_i ⊗ p_j] ‖ E[p_i] ⊗ E[p_j]) over the batch, in nats: what symbols say twice."""
    batch, length, size = chances.shape
    flat = chances.flatten(1)
    joint = (flat.T @ flat / batch).clamp_min(_LEAST)
    mean = flat.mean(0).clamp_min(_LEAST)
    each = joint * (joint.log() - mean.log()[:, None] - mean.log())
    pairs = each.unflatten(0, (length, size)).unflatten(2, (length, size)).sum((1, 3))
    return pairs.triu(1).sum()


def informative_codes(log_chances: Chances, labels: Int[Tensor, "batch"], weight: float) -> Loss:
    """`−Σ_i I(Z_i; Y) + weight · redundancy`, to be minimised.

    Args:
        log_chances: log-probabilities of each symbol.
        labels: of each row.
        weight: of the redundancy, at least 0.

    Returns:
        The loss in nats; figures `loss`, `information` (summed over symbols) and `redundancy`.

    Raises:
        UserError: a batch of one class.
    """
    chances = log_chances.exp()
    told, twice = information(chances, labels).sum(), redundancy(chances)
    value = -told + weight * twice
    return Loss(value, {"loss": value.detach(), "information": told.detach(), "redundancy": twice.detach()})
