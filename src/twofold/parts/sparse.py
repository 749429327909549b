"""Sparse vectors over the vocabulary, read from a masked-language-model head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.encoders import Tower
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part


class MaxTerms(Part):
    """The weight of a term: `max_t log(1 + relu(logit_t))` over the tokens that count; without any, 0.

    Formal et al. 2021, https://arxiv.org/abs/2109.10086, equation 6.
    """

    def forward(
        self, logits: Float[Tensor, "batch time vocab"], counted: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """Weights of the terms, 0 or more."""
        # The logarithm grows with its argument, so it is taken once a term and not once a token.
        largest = logits.masked_fill(~counted[..., None], 0.0).max(dim=1).values
        return torch.log1p(largest.clamp_min(0.0).float())


class SparseEncoder(Tower):
    """A masked language model whose logits, pooled over a text, are its vector.

    Args:
        model: with a head over the vocabulary.
        pool: `pool(logits [B, T, V], counted [B, T]) -> [B, V]`.
        silent: ids whose weight is always 0 (tokens with a role).
        before, after: how many tokens with a role stand around every text; their logits do not count.
    """

    sparse: ClassVar[bool] = True

    def __init__(
        self, model: SequenceModel, pool: Part, silent: Sequence[int] = (), before: int = 0, after: int = 0
    ) -> None:
        super().__init__()
        if model.head is None:
            raise UserError("a sparse encoder reads the logits of a head over the vocabulary; give the model one")
        self.model, self.pool = model, pool
        self.silent, self.before, self.after = list(silent), before, after

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """Weights of the vocabulary's terms."""
        place = real.cumsum(1)
        counted = real & (place > self.before) & (place <= place[:, -1:] - self.after)
        weights = self.pool(self.model.apply_head(states), counted)
        if not self.silent:
            return weights
        silent = torch.tensor(self.silent, device=weights.device)
        return weights.index_fill(1, silent, 0.0)
