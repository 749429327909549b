"""Codes: a few symbols of a small alphabet in place of a vector, and what is read from them.

Lee et al. 2022, "Discrete Infomax Codes for Supervised Representation Learning", https://arxiv.org/abs/1905.11656
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.encoders import Tower
from twofold.parts.linear import Dense
from twofold.parts.model import SequenceModel
from twofold.parts.neighbours import Neighbours
from twofold.parts.part import Part

Chances = Float[Tensor, "batch length size"]
LEAST = 1e-8
"""The smallest probability whose logarithm is taken."""


class CodeHead(Part):
    """Log-probabilities of `length` independent symbols, `[..., D] -> [..., length, size]`.

    Args:
        dim: width that is read.
        length: symbols of a code.
        size: of the alphabet.
    """

    def __init__(self, dim: int, length: int, size: int) -> None:
        super().__init__()
        at_least_one("CodeHead", dim=dim, length=length, size=size)
        if size < 2:
            raise UserError("CodeHead: an alphabet of one symbol says nothing; use size=2 or more")
        self.length, self.size = length, size
        self.logits = Dense(dim, length * size)

    def forward(self, states: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch length size"]:
        logits: Tensor = self.logits(states)
        return logits.float().unflatten(-1, (self.length, self.size)).log_softmax(-1)


def look_up(
    tables: Float[Tensor, "queries length size"], codes: Int[Tensor, "documents length"]
) -> Float[Tensor, "queries documents"]:
    """`Σ_i tables[q, i, codes[d, i]]`: what each query gives the symbols of each document."""
    scores = tables.new_zeros(len(tables), len(codes))
    for place in range(codes.shape[1]):  # over the symbols of a code: a table look-up each
        scores += tables[:, place, codes[:, place]]
    return scores


class CodeEncoder(Tower):
    """Texts to log-probabilities of symbols, `[B, length, size]`; documents are kept as their likeliest symbols.

    Args:
        model: its head, if any, is not used.
        pool: `pool(states, real)` -> `[B, D]`.
        head: what reads it.
    """

    codes: ClassVar[bool] = True

    def __init__(self, model: SequenceModel, pool: Part, head: CodeHead) -> None:
        super().__init__()
        self.model, self.pool, self.head = model, pool, head

    def read(self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]) -> Chances:
        """Pool, then head."""
        chances: Tensor = self.head(self.pool(states, real))
        return chances

    def score(
        self, queries: Float[Tensor, "queries length size"], documents: Int[Tensor, "documents length"]
    ) -> Float[Tensor, "queries documents"]:
        """How likely each query makes each document's code: `Σ_i log p_i(q)[z_i]`."""
        return look_up(queries, documents)


class CodeClasses(Part):
    """Classes as distributions of symbols: `logit_c = Σ_i log Σ_k p_i[k] · p̄_i(c)[k]` (few-shot classification).

    Args:
        classes: how many.
        length, size: of the codes.
    """

    means: Tensor

    def __init__(self, classes: int, length: int, size: int) -> None:
        super().__init__()
        at_least_one("CodeClasses", classes=classes, length=length, size=size)
        self.register_buffer("means", torch.full((classes, length, size), 1 / size))

    def know(self, chances: Chances, labels: Int[Tensor, "batch"]) -> CodeClasses:
        """Takes the mean probabilities of each class's examples (log-probabilities as `CodeHead` gives them)."""
        self.means.zero_().index_add_(0, labels, chances.exp())
        self.means /= labels.bincount(minlength=len(self.means)).clamp_min(1)[:, None, None]
        return self

    def forward(self, chances: Chances) -> Float[Tensor, "batch classes"]:
        together = torch.einsum("blk,clk->bcl", chances.exp(), self.means)
        return together.clamp_min(LEAST).log().sum(-1)


class CodeNeighbours(Neighbours):
    """As `Neighbours`, by codes: known items are kept as their symbols, and scored from a table of the asked one.

    Args:
        known, outputs, k, temperature, link: as `Neighbours` has them.
        length, size: of the codes.
        hamming: the asked item is a code too, and equal symbols are counted; else its log-probabilities are looked up.
    """

    symbols: Tensor

    def __init__(
        self,
        known: int,
        length: int,
        size: int,
        outputs: int,
        k: int = 1,
        temperature: float = 0.1,
        link: Part | None = None,
        hamming: bool = False,
    ) -> None:
        super().__init__(known, 1, outputs, k, temperature, link)
        at_least_one("CodeNeighbours", length=length, size=size)
        self.hamming = hamming
        del self.vectors
        self.register_buffer("symbols", torch.zeros(known, length, dtype=torch.long))

    def know(self, vectors: Chances, values: Float[Tensor, "known outputs"]) -> CodeNeighbours:
        """Takes the likeliest symbols of what is known."""
        self.symbols.copy_(vectors.argmax(-1))
        self.values.copy_(values)
        return self

    def likeness(self, states: Chances) -> Float[Tensor, "batch known"]:
        """The score of each known item's code."""
        tables = states
        if self.hamming:
            tables = torch.zeros_like(states).scatter_(-1, states.argmax(-1, keepdim=True), 1.0)
        return look_up(tables, self.symbols)

    def forward(self, states: Chances) -> Float[Tensor, "batch outputs"]:
        return self.answer(self.likeness(states))
