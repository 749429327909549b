"""Which wrong partners a matching loss is shown."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def drawn_negatives(
    scores: Float[Tensor, "rows candidates"], wrong: Bool[Tensor, "rows candidates"]
) -> tuple[Int[Tensor, "drawn"], Int[Tensor, "drawn"]]:
    """One wrong candidate for each row, the likelier the more similar. Li et al. 2021, https://arxiv.org/abs/2107.07651

    Candidate k of row i is drawn with probability `softmax_k(scores_ik)` over those that are wrong.

    Args:
        scores: similarities divided by the temperature.
        wrong: what may be drawn; nothing that belongs to the row.

    Returns:
        The rows that have a wrong candidate at all, and the one that was drawn for each.
    """
    rows = wrong.any(1).nonzero()[:, 0]
    shares = scores.detach().float()[rows].masked_fill(~wrong[rows], -torch.inf).softmax(1)
    return rows, torch.multinomial(shares, 1)[:, 0] if len(rows) else rows
