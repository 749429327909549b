"""Answer-token prediction: one masked token at the end of a prompt is the answer, and dummies that look like it.

Clavié et al. 2025, "It's All in The [MASK]", https://arxiv.org/abs/2502.03793
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from twofold.objectives.loss import IGNORED, Loss, average, full_precision
from twofold.objectives.masked import Tokens, mask_tokens

Ids = Int[Tensor, "batch time"]


class Dummy(Protocol):
    """What is asked of prompts that are not for answering: ids whole -> (ids hidden in part, labels)."""

    def __call__(self, ids: Ids, tokens: Tokens, generator: torch.Generator) -> tuple[Ids, Ids]: ...


@dataclass(frozen=True)
class MaskLabel:
    """A share `rate` of the tokens is masked, and the target at every one of them is the mask token itself."""

    rate: float = 0.3

    def __call__(self, ids: Ids, tokens: Tokens, generator: torch.Generator) -> tuple[Ids, Ids]:
        hidden, labels = mask_tokens(ids, self.rate, generator, split=(1.0, 0.0, 0.0), **tokens.arguments())
        return hidden, torch.where(labels == IGNORED, labels, tokens.mask)


@dataclass(frozen=True)
class MaskedTokens:
    """Masked language modelling at that rate."""

    rate: float = 0.3

    def __call__(self, ids: Ids, tokens: Tokens, generator: torch.Generator) -> tuple[Ids, Ids]:
        return mask_tokens(ids, self.rate, generator, **tokens.arguments())


def answer_labels(ids: Ids, mask: int, answers: Int[Tensor, "batch"]) -> Ids:
    """Labels of prompts that end in one mask: the answer there, `-100` elsewhere."""
    return torch.where(ids == mask, answers[:, None], IGNORED)


def by_row(logits: Float[Tensor, "labelled vocab"], labels: Ids) -> Loss:
    """Cross-entropy over the vocabulary at labelled places, each *row* counted alike however many it has.

    Args:
        logits: at the places where `labels` is not `-100`, row after row.
        labels: `[B, T]`.

    Returns:
        The mean over rows of each row's mean, in nats; figures `loss`, and `accuracy` over the labelled places.
    """
    counted = labels != IGNORED
    rows, targets = counted.nonzero()[:, 0], labels[counted]
    each = F.cross_entropy(full_precision(logits), targets, reduction="none")
    sizes = counted.sum(1).clamp(min=1)
    sums = each.new_zeros(len(labels)).index_add(0, rows, each / sizes[rows])
    value = average(sums, counted.any(1))
    return Loss(value, {"loss": value.detach(), "accuracy": (logits.detach().argmax(-1) == targets).float().mean()})
