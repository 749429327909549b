"""Windows of text for self-guided training, where dense maps lead structured ones at first.

Wei et al. 2024, "Building on Efficient Foundations", https://arxiv.org/abs/2406.16450, section 3.3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from twofold.parts import cosine_guide
from twofold.tasks.language.system import TokenBatch


@dataclass(frozen=True)
class GuidedBatch(TokenBatch):
    """A batch, and the share that dense guides have in it, 0 to 1."""

    alpha: float


class GuidedWindows:
    """Batches of windows with the guides' share at that point of training.

    Args:
        windows: from the step and the share of the budget that is spent to a batch.
        sampled: guides take part in a step whole or not at all, with their share as probability of the first, drawn
            from torch's generator; the share itself stays.
    """

    def __init__(self, windows: Callable[[int, float], TokenBatch], sampled: bool = False) -> None:
        self.windows, self.sampled = windows, sampled

    def __call__(self, step: int, progress: float) -> GuidedBatch:
        alpha = cosine_guide(progress)
        if self.sampled and float(torch.rand(())) >= alpha:
            alpha = 0.0
        return GuidedBatch(self.windows(step, progress).ids, alpha)
