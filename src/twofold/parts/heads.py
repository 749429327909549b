"""From states to what is asked: logits over tokens, classes or tags."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

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
from twofold.parts.prefixes import rising

States = Float[Tensor, "*batch dim"]
Table = Float[Tensor, "vocab dim"]
Factors = tuple[Tensor, Tensor, Tensor | None]


class Head(Part, abstract=True):
    """Reads states `[..., D]`. `table` `[V, D]` is the embedding's, which tied heads use as their matrix."""

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch out"]:
        raise NotImplementedError

    def flops(self, time: int, dim: int) -> int:
        """Multiply–adds, times two, for `time` states of width `dim`."""
        raise NotImplementedError

    def factors(self, states: States, table: Table | None = None) -> Factors | None:
        """Features `[..., d]`, matrix `[V, d]` and bias `[V]` (or None) with logits = features · matrixᵀ + bias.

        For who needs few of the logits, or only the largest. None: this head's logits are no such product.
        """
        return None


class TiedHead(Head):
    """Logits over the vocabulary with the embedding's own matrix. Press & Wolf 2017, https://arxiv.org/abs/1608.05859"""

    def __init__(self, vocab: int, bias: bool = False) -> None:
        super().__init__()
        self.vocab = vocab
        self.bias = nn.Parameter(torch.zeros(vocab)) if bias else None

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch vocab"]:
        return F.linear(states, _needed(table), self.bias)

    def factors(self, states: States, table: Table | None = None) -> Factors:
        return states, _needed(table), self.bias

    def flops(self, time: int, dim: int) -> int:
        return 2 * time * dim * self.vocab


class LMHead(Head):
    """Logits over the vocabulary with a matrix of its own."""

    def __init__(self, dim: int, vocab: int, bias: bool = False) -> None:
        super().__init__()
        self.decoder = Dense(dim, vocab, bias)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch vocab"]:
        return self.decoder(states)

    def factors(self, states: States, table: Table | None = None) -> Factors | None:
        return (states, self.decoder.weight, self.decoder.bias) if isinstance(self.decoder, Dense) else None

    def flops(self, time: int, dim: int) -> int:
        return self.decoder.flops(time)


class MLMHead(Head):
    """BERT's: a linear map, the nonlinearity, a LayerNorm, then the tied decoder with a bias. https://arxiv.org/abs/1810.04805

    Args:
        inner_bias: the linear map and the norm have one too (in ModernBERT only the decoder has).
    """

    def __init__(
        self, dim: int, vocab: int, activation: str = "gelu", eps: float = 1e-12, inner_bias: bool = True
    ) -> None:
        super().__init__()
        self.act = nonlinearity(activation)
        self.transform = Dense(dim, dim, inner_bias)
        self.norm = LayerNorm(dim, eps, inner_bias)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch vocab"]:
        features, matrix, bias = self.factors(states, table)
        return F.linear(features, matrix, bias)

    def factors(self, states: States, table: Table | None = None) -> Factors:
        return self.norm(self.act(self.transform(states))), _needed(table), self.bias

    def flops(self, time: int, dim: int) -> int:
        return self.transform.flops(time) + 2 * time * dim * len(self.bias)


class SequenceHead(Head):
    """Logits over classes for one vector per sequence (pooled `[B, D]`)."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        at_least_one("SequenceHead", classes=classes)
        self.decoder = Dense(dim, classes)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch classes"]:
        return self.decoder(states)

    def flops(self, time: int, dim: int) -> int:
        return self.decoder.flops(time)


class NestedHeads(Head):
    """Logits over classes from prefixes of an embedding: one linear map a width, chosen by the width that comes in.

    Kusupati et al. 2022, "Matryoshka Representation Learning", https://arxiv.org/abs/2205.13147: W^(m) of equation 1.
    A width between two trained ones is read by the widest map that it fills.

    Args:
        widths: rising, the last one the whole embedding's.
        classes: number of logits.
    """

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        at_least_one("NestedHeads", classes=classes)
        self.widths = rising(widths, max(widths, default=0))
        self.decoders = nn.ModuleList(Dense(width, classes) for width in self.widths)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch classes"]:
        place = bisect.bisect_right(self.widths, states.shape[-1]) - 1
        if place < 0:
            raise UserError(
                f"width={states.shape[-1]} is below the narrowest head, {self.widths[0]}; use at least that"
            )
        logits: Tensor = self.decoders[place](states[..., : self.widths[place]])
        return logits


class PrefixHead(Head):
    """Logits over classes from prefixes of an embedding with the first columns of one matrix: W^(m) = W[:, :m].

    Kusupati et al. 2022, https://arxiv.org/abs/2205.13147, the efficient form (MRL-E).

    Args:
        dim: width of the whole embedding.
        classes: number of logits.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        at_least_one("PrefixHead", dim=dim, classes=classes)
        self.decoder = Dense(dim, classes)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch classes"]:
        return F.linear(states, self.decoder.weight[:, : states.shape[-1]], self.decoder.bias)


class TokenHead(Head):
    """Logits over tags for every token."""

    def __init__(self, dim: int, tags: int) -> None:
        super().__init__()
        at_least_one("TokenHead", tags=tags)
        self.decoder = Dense(dim, tags)

    def forward(self, states: States, table: Table | None = None) -> Float[Tensor, "*batch tags"]:
        return self.decoder(states)

    def flops(self, time: int, dim: int) -> int:
        return self.decoder.flops(time)


def _needed(table: Tensor | None) -> Tensor:
    if table is None:
        raise UserError("a tied head needs the embedding's table; call it through SequenceModel, or use LMHead")
    return table
