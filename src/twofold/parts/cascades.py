"""Answers from few coordinates where these are sure, and from more where they are not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.part import Part
from twofold.parts.prefixes import rising


class Cascade(Part):
    """Logits over classes from the narrowest prefix whose largest probability reaches its threshold.

    Kusupati et al. 2022, "Matryoshka Representation Learning", https://arxiv.org/abs/2205.13147, section 4.2.1.

    Args:
        head: reads prefixes of each width, such as `NestedHeads`.
        widths: rising; the last one answers whatever is left.
        thresholds: one for each width but the last, between 0 and 1.
    """

    def __init__(self, head: Part, widths: Sequence[int], thresholds: Sequence[float]) -> None:
        super().__init__()
        self.head, self.widths = head, rising(widths, max(widths, default=0))
        self.thresholds = tuple(thresholds)
        if len(self.thresholds) != len(self.widths) - 1:
            raise UserError(f"Cascade: {len(self.widths)} widths need {len(self.widths) - 1} thresholds")

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch classes"]:
        return self.decide(states)[0]

    def decide(self, states: Float[Tensor, "batch dim"]) -> tuple[Float[Tensor, "batch classes"], Int[Tensor, "batch"]]:
        """Logits, and the width that each row was answered from."""
        logits: Tensor = self.head(states[:, : self.widths[0]])
        used = torch.full((len(states),), self.widths[0], device=states.device)
        open_rows = torch.arange(len(states), device=states.device)
        for threshold, width in zip(self.thresholds, self.widths[1:], strict=True):
            unsure = logits[open_rows].float().softmax(-1).amax(-1) < threshold
            open_rows = open_rows[unsure]
            if not len(open_rows):
                break
            logits = logits.index_copy(0, open_rows, self.head(states[open_rows, :width]).to(logits.dtype))
            used[open_rows] = width
        return logits, used
