"""What every objective gives back, and the averages they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.objectives import ranks

IGNORED = -100
"""The label of a position that does not count."""


@dataclass(frozen=True)
class Loss:
    """A scalar to minimise, and named figures to watch.

    Attributes:
        value: the scalar, with its gradient.
        figures: what is logged: detached scalars or plain numbers. Objectives give at least `loss`.
    """

    value: Tensor
    figures: Mapping[str, Tensor | float] = field(default_factory=dict)


def full_precision(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half-precision values as float32; float32 and float64 as they are. Losses are computed no lower."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def average(values: Float[Tensor, "*shape"], counted: Bool[Tensor, "*shape"] | None = None) -> Float[Tensor, ""]:
    """Mean of the values that count; zero, with zero gradient, where none does.

    In distributed training the mean is over all ranks' values: each rank returns its share times the number of
    ranks, so that averaging over ranks, as data-parallel training does, gives that mean however unevenly the
    values fall.
    """
    if counted is None:
        total, count = values.sum(), torch.tensor(values.numel(), device=values.device)
    else:
        total, count = values.masked_fill(~counted, 0.0).sum(), counted.sum()
    return total * ranks.joined() / ranks.total(count).clamp(min=1)


def token_loss(logits: Float[Tensor, "positions vocab"], targets: Int[Tensor, "positions"]) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the positions whose target is not `IGNORED`."""
    losses = F.cross_entropy(full_precision(logits), targets, ignore_index=IGNORED, reduction="none")
    return average(losses, targets != IGNORED)
