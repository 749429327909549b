"""Exact matching of terms: queries that are only counted, passages whose terms have weights or likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.encoders import Side, Tower
from twofold.parts.linear import Dense
from twofold.parts.model import SequenceModel
from twofold.parts.pooling import Cls


class CountTerms(Tower):
    """How often each term stands in a text, `[B, V]`; there is no network.

    Args:
        vocab: number of terms.
        silent: ids that are not counted (tokens with a role, stop words).
    """

    sparse: ClassVar[bool] = True
    needs_ids: ClassVar[bool] = True

    def __init__(self, vocab: int, silent: Sequence[int] = ()) -> None:
        super().__init__()
        at_least_one("CountTerms", vocab=vocab)
        self.vocab, self.silent = vocab, list(silent)

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch vocab"]:
        """Counts of the terms of texts; padding is none."""
        once = torch.ones_like(ids, dtype=torch.float32) if real is None else real.float()
        return _hushed(once.new_zeros(len(ids), self.vocab).scatter_add(1, ids, once), self.silent)


class TermLikelihoods(Tower):
    """How likely each term of the vocabulary belongs to a passage, from its first state; its queries are counted.

    TILDE: Zhuang & Zuccon 2021, "TILDE: Term Independent Likelihood moDEl for Passage Re-ranking", SIGIR. The score
    is `Σ_{t in query} log P(t | passage)`.

    Args:
        model: looks both ways, its first token stands for the text, and its head gives logits over the vocabulary.
        stop: ids that do not count in a query.
    """

    needs_ids: ClassVar[bool] = True

    def __init__(self, model: SequenceModel, stop: Sequence[int] = ()) -> None:
        super().__init__()
        if model.head is None:
            raise UserError("likelihoods of terms are read from a head over the vocabulary; give the model one")
        self.model, self.stop, self.first = model, list(stop), Cls()
        self.counts = CountTerms(model.vocab, stop)

    def tower(self, side: Side) -> Tower:
        """Queries are counted; this network is for passages."""
        return self.counts if side == "query" else self

    def logits(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch vocab"]:
        """Logits of the likelihoods."""
        states = self.model.states(ids, real)
        every = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        return self.model.apply_head(self.first(states, every))

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch vocab"]:
        """`log P(t | passage)` of every term."""
        return F.logsigmoid(self.model.apply_head(self.first(states, real)).float())


class TermWeights(Tower):
    """A weight for each distinct term of a passage, from the term's states; its queries are counted.

    TILDEv2: Zhuang & Zuccon 2021, https://arxiv.org/abs/2108.08513. With `w_i = relu(linear(h_i))` for each token,
    the weight of a term is the largest of its occurrences, and `s(q, d) = Σ_{t in q} count(t, q) · weight(t, d)`.

    Args:
        model: its head, if any, is not used.
        silent: ids that never have a weight (tokens with a role).
        stop: ids that do not count in a query.
        expander: whose likeliest terms are appended to a passage before it is read; it is not trained any more.
        expansion: how many.
        unfit: ids that are never appended.
    """

    sparse: ClassVar[bool] = True
    needs_ids: ClassVar[bool] = True

    def __init__(
        self,
        model: SequenceModel,
        silent: Sequence[int] = (),
        stop: Sequence[int] = (),
        expander: TermLikelihoods | None = None,
        expansion: int = 0,
        unfit: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if (expander is None) != (expansion == 0):
            raise UserError(f"expansion={expansion} and an expander go together; give both or neither")
        self.model, self.expander, self.expansion = model, expander, expansion
        self.silent, self.stop, self.unfit = list(silent), list(stop), list(unfit)
        self.counts = CountTerms(model.vocab, stop)
        self.weight = Dense(model.dim, 1)
        # A term counts about once from the start, as in lexical search, and no weight begins at the dead side of 0.
        nn.init.ones_(self.weight.bias)
        if expander is not None:
            expander.requires_grad_(False)

    def tower(self, side: Side) -> Tower:
        """Queries are counted; this network is for passages."""
        return self.counts if side == "query" else self

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch vocab"]:
        """Weights of the terms of passages and of what they are expanded by."""
        real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        ids, real = self.expand(ids, real)
        weights = F.relu(self.weight(self.model.states(ids, real))[..., 0]).float() * real
        found = weights.new_zeros(len(ids), self.model.vocab)
        return _hushed(found.scatter_reduce(1, ids, weights, "amax"), self.silent)

    @torch.no_grad()
    def expand(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"]
    ) -> tuple[Int[Tensor, "batch longer"], Bool[Tensor, "batch longer"]]:
        """Passages with the likeliest terms that they do not hold behind them; the passage alone decides."""
        if self.expander is None:
            return ids, real
        likely = self.expander(ids, real)
        held = torch.zeros_like(likely).scatter_add(1, ids, real.to(likely)) > 0
        held = held.index_fill(1, torch.tensor([*self.unfit, *self.silent, *self.stop], device=ids.device), True)
        best = likely.masked_fill(held, -torch.inf).topk(min(self.expansion, likely.shape[1]), 1)
        return torch.cat([ids, best.indices], 1), torch.cat([real, best.values > -torch.inf], 1)


def _hushed(values: Float[Tensor, "batch vocab"], silent: Sequence[int]) -> Float[Tensor, "batch vocab"]:
    return values.index_fill(1, torch.tensor(silent, device=values.device), 0.0) if silent else values
