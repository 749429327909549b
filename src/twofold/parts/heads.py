"""From states to what is asked: logits over tokens, classes or tags."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import nonlinearity
from twofold.parts.linear import Dense
from twofold.parts.norms import LayerNorm
from twofold.parts.part import Part

States = Float[Tensor, "*batch dim"]
Table = Float[Tensor, "vocab dim"]


class Head(Part, abstract=True):
    """Reads states `[..., D]`. `table` `[V, D]` is the embedding's, which tied heads use as their matrix."""

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch out"]:
        raise NotImplementedError


class TiedHead(Head):
    """Logits over the vocabulary with the embedding's own matrix. Press & Wolf 2017, https://arxiv.org/abs/1608.05859"""

    def __init__(self, vocab: int, bias: bool = False) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab)) if bias else None

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch vocab"]:
        return F.linear(states, _needed(table), self.bias)


class LMHead(Head):
    """Logits over the vocabulary with a matrix of its own."""

    def __init__(self, dim: int, vocab: int, bias: bool = False) -> None:
        super().__init__()
        self.decoder = Dense(dim, vocab, bias)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch vocab"]:
        return self.decoder(states)


class MLMHead(Head):
    """BERT's: a linear map, the nonlinearity, a LayerNorm, then the tied decoder with a bias. https://arxiv.org/abs/1810.04805"""

    def __init__(self, dim: int, vocab: int, activation: str = "gelu", eps: float = 1e-12) -> None:
        super().__init__()
        self.act = nonlinearity(activation)
        self.transform = Dense(dim, dim)
        self.norm = LayerNorm(dim, eps)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch vocab"]:
        return F.linear(self.norm(self.act(self.transform(states))), _needed(table), self.bias)


class SequenceHead(Head):
    """Logits over classes for one vector per sequence (pooled `[B, D]`)."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        at_least_one("SequenceHead", classes=classes)
        self.decoder = Dense(dim, classes)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch classes"]:
        return self.decoder(states)


class TokenHead(Head):
    """Logits over tags for every token."""

    def __init__(self, dim: int, tags: int) -> None:
        super().__init__()
        at_least_one("TokenHead", tags=tags)
        self.decoder = Dense(dim, tags)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch tags"]:
        return self.decoder(states)


def _needed(table: Tensor | None) -> Tensor:
    if table is None:
        raise UserError("a tied head needs the embedding's table; call it through SequenceModel, or use LMHead")
    return table
