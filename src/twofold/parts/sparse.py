"""Sparse vectors over the vocabulary, read from a masked-language-model head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.encoders import Tower
from twofold.parts.heads import Factors, Head
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part

_LOGITS = 1 << 22  # held at once


class _Largest(torch.autograd.Function):
    """The largest logit of each term over the tokens that count, `[B, V]`; the table of all of them is never whole.

    Backwards only what has a gradient is touched: with sparse vectors, a few terms of each text.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrix: Tensor, counted: Tensor) -> Tensor:
        ctx.save_for_backward(features, matrix, counted)
        rows = max(1, _LOGITS // max(1, features.shape[1] * len(matrix)))
        largest = [
            (some @ matrix.T).masked_fill_(~here[..., None], -torch.inf).amax(1)
            for some, here in zip(features.split(rows), counted.split(rows), strict=True)
        ]
        return torch.cat(largest)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        features, matrix, counted = (t.float() if t.is_floating_point() else t for t in ctx.saved_tensors)
        batch, time, dim = features.shape
        row, term = gradients[0].nonzero(as_tuple=True)
        # Which token was loudest is asked of these terms alone: keeping it for all costs more than the product.
        terms = term.split(row.bincount(minlength=batch).tolist())
        place = [
            (states @ matrix[some].T).masked_fill_(~here[:, None], -torch.inf).argmax(0)
            for states, here, some in zip(features, counted, terms, strict=True)
        ]
        token = row * time + torch.cat(place)
        values, shape = gradients[0][row, term].float(), (batch * time, len(matrix))
        spread = torch.sparse_coo_tensor(torch.stack([token, term]), values, shape, check_invariants=False)
        to_features = torch.sparse.mm(spread, matrix).view(batch, time, dim)
        to_matrix = torch.sparse.mm(spread.t(), features.reshape(batch * time, dim))
        return to_features.to(ctx.saved_tensors[0].dtype), to_matrix.to(ctx.saved_tensors[1].dtype), None


class MaxTerms(Part):
    """The weight of a term: `max_t log(1 + relu(logit_t))` over the tokens that count; without any, 0.

    Formal et al. 2021, https://arxiv.org/abs/2109.10086, equation 6.
    """

    def forward(
        self, logits: Float[Tensor, "batch time vocab"], counted: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """Weights of the terms, 0 or more."""
        # The logarithm grows with its argument, so it is taken once a term and not once a token.
        return self.of_largest(logits.masked_fill(~counted[..., None], -torch.inf).amax(dim=1))

    def of_largest(self, largest: Float[Tensor, "batch vocab"]) -> Float[Tensor, "batch vocab"]:
        """Weights from the largest logit of each term."""
        return torch.log1p(largest.clamp_min(0.0).float())


def largest_logits(factors: Factors, counted: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch vocab"]:
    """The largest logit of each term over the tokens that count, from logits that are a product (`Head.factors`).

    The table of all logits is never made; backwards only terms with a gradient are touched. −inf where none counts.
    """
    features, matrix, bias = factors
    largest: Tensor = _Largest.apply(features, matrix, counted)
    return largest if bias is None else largest + bias


class SparseEncoder(Tower):
    """A masked language model whose logits, pooled over a text, are its vector.

    Args:
        model: with a head over the vocabulary.
        pool: the largest logits of a text to weights.
        silent: ids whose weight is always 0 (tokens with a role).
        before, after: how many tokens with a role stand around every text; their logits do not count.
    """

    sparse: ClassVar[bool] = True

    def __init__(
        self, model: SequenceModel, pool: MaxTerms, silent: Sequence[int] = (), before: int = 0, after: int = 0
    ) -> None:
        super().__init__()
        if model.head is None:
            raise UserError("a sparse encoder reads the logits of a head over the vocabulary; give the model one")
        self.model, self.pool = model, pool
        self.silent, self.before, self.after = list(silent), before, after

    def counted(self, real: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
        """The tokens whose logits count: those of the text itself."""
        place = real.cumsum(1)
        return real & (place > self.before) & (place <= place[:, -1:] - self.after)

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """Weights of the vocabulary's terms."""
        weights = self.pool.of_largest(self.largest(states, real))
        if not self.silent:
            return weights
        silent = torch.tensor(self.silent, device=weights.device)
        return weights.index_fill(1, silent, 0.0)

    def largest(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """The largest logit of each term over the tokens that count."""
        counted, head = self.counted(real), self.model.head
        factors = head.factors(states, self.model.embedding.table) if isinstance(head, Head) else None
        if factors is not None:
            return largest_logits(factors, counted)
        return self.model.apply_head(states).masked_fill(~counted[..., None], -torch.inf).amax(1)


class EchoEncoder(SparseEncoder):
    """A sparse encoder whose texts stand twice in their sequence: only the second copy's logits count.

    A network that looks back alone has read the whole text by then. Springer et al. 2024,
    https://arxiv.org/abs/2402.15449. A sequence is `frame` tokens and twice the text, the second copy at its end.

    Args:
        frame: how many tokens are of neither copy.
        shift: count the tokens that predict the second copy, each one place before it, instead of its own.
    """

    def __init__(
        self, model: SequenceModel, pool: MaxTerms, silent: Sequence[int] = (), frame: int = 0, shift: bool = False
    ) -> None:
        super().__init__(model, pool, silent)
        if shift and not frame:
            raise UserError("shift counts the token before the second copy, which is the first's; put one between them")
        self.frame, self.shift = frame, shift

    def counted(self, real: Bool[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
        """The second copy."""
        place = real.cumsum(1)
        end = place[:, -1:]
        copy = (end - self.frame).div(2, rounding_mode="floor").clamp_min(0)
        end = end - int(self.shift)
        return real & (place > end - copy) & (place <= end)
