"""From token ids to states."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.init import normal
from twofold.parts.linear import Dense
from twofold.parts.part import Part
from twofold.parts.positions import NoPosition, Position
from twofold.parts.rules import visible


class Embedding(Part, abstract=True):
    """Makes states from what a network reads: `embedding(ids, positions)` -> `[B, T, D]`.

    Attributes:
        dim: width of the states.
        vocab: number of tokens.
    """

    dim: int
    vocab: int

    @property
    def table(self) -> Float[Tensor, "vocab dim"] | None:
        """The token vectors, for tied heads; None where there are none."""
        return None

    @property
    def max_len(self) -> int | None:
        """Longest input; None: no limit."""
        return None


class Table(Part, nn.Embedding):
    """A vector for each row number: a plain matrix `[rows, dim]`."""

    def __init__(self, rows: int, dim: int) -> None:
        at_least_one("Table", rows=rows, dim=dim)
        nn.Embedding.__init__(self, rows, dim, _weight=torch.empty(rows, dim))
        normal(self.weight, dim**-0.5)

    @property
    def vectors(self) -> Float[Tensor, "rows dim"]:
        """All of them, for tied heads."""
        return self.weight


class TokenEmbedding(Embedding):
    """A vector for each token, with position and token type added, then a norm (where given).

    Args:
        vocab: number of tokens.
        dim: width of the states.
        position: whose `embed` is called here (learned and sinusoid act here; rope and its like belong to attention).
        norm: after all has been added (BERT).
        types: number of token types; 0: none.
        scale: factor on the token vectors (the first Transformer: √dim).

    Raises:
        UserError: a position that acts on queries and keys; on use, an id outside the vocabulary.
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        position: Position | None = None,
        norm: Part | None = None,
        types: int = 0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        at_least_one("TokenEmbedding", vocab=vocab, dim=dim)
        self.vocab, self.dim, self.scale = vocab, dim, scale
        self.position = NoPosition() if position is None else position
        if self.position.needs_qk:
            name = type(self.position).__name__
            raise UserError(f"position {name} acts on queries and keys; give it to the attention, not to the embedding")
        self.position.check(dim=dim)
        self.tokens = Table(vocab, dim)
        self.token_types = Table(types, dim) if types else None
        self.norm = norm

    @property
    def table(self) -> Float[Tensor, "vocab dim"]:
        """The token vectors, for tied heads."""
        return self.tokens.vectors

    @property
    def max_len(self) -> int | None:
        """Longest input that the positions allow; None: no limit."""
        return self.position.max_len

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        positions: Int[Tensor, "rows time"] | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """States of the tokens; positions default to 0, 1, …, types to 0."""
        if ids.device.type == "cpu" and visible(ids) and ids.numel():  # elsewhere a look would cost a wait
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.vocab:
                raise UserError(
                    f"token id {low if low < 0 else high} is outside the vocabulary of {self.vocab}; "
                    "use the tokenizer that belongs to this network"
                )
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
        x = self.tokens(ids)
        if self.scale != 1.0:
            x = x * self.scale
        if self.token_types is not None:
            x = x + (self.token_types.weight[0] if types is None else self.token_types(types))
        elif types is not None:
            raise UserError("this network knows no token types; leave types out")
        x = self.position.embed(x, positions)
        return x if self.norm is None else self.norm(x)


class NumberEmbedding(Embedding):
    """A linear map of each token's numbers, with position added: `[B, T, C]` -> `[B, T, D]`. There is no vocabulary.

    Args:
        channels: numbers in a token.
        dim: width of the states.
        position: whose `embed` is called here.
    """

    def __init__(self, channels: int, dim: int, position: Position | None = None) -> None:
        super().__init__()
        at_least_one("NumberEmbedding", channels=channels, dim=dim)
        self.channels, self.dim, self.vocab = channels, dim, 0
        self.position = NoPosition() if position is None else position
        self.position.check(dim=dim)
        self.numbers = Dense(channels, dim)

    @property
    def max_len(self) -> int | None:
        """Longest input that the positions allow; None: no limit."""
        return self.position.max_len

    def forward(
        self, values: Float[Tensor, "batch time channels"], positions: Int[Tensor, "rows time"] | None = None
    ) -> Float[Tensor, "batch time dim"]:
        """States of the tokens; positions default to 0, 1, …"""
        if values.shape[-1] != self.channels:
            raise UserError(f"tokens have {values.shape[-1]} numbers, and this network was made for {self.channels}")
        if positions is None:
            positions = torch.arange(values.shape[1], device=values.device)[None]
        states: Tensor = self.position.embed(self.numbers(values), positions)
        return states


class OverlapEmbedding(Embedding):
    """For two texts in one sequence: a learned vector is added to tokens that stand in the other text too.

    A small cross-encoder does not learn to match words exactly within a short training; this tells it where they do.

    Args:
        embedding: of the tokens.
        separator: the token that ends the first text, and the second.
        silent: tokens that are never marked (those with a role).
    """

    def __init__(self, embedding: Embedding, separator: int, silent: Sequence[int] = ()) -> None:
        super().__init__()
        self.embedding, self.separator, self.silent = embedding, separator, tuple(silent)
        self.dim, self.vocab = embedding.dim, embedding.vocab
        self.mark = nn.Parameter(torch.empty(self.dim))
        normal(self.mark, self.dim**-0.5)

    @property
    def table(self) -> Float[Tensor, "vocab dim"] | None:
        """The token vectors, for tied heads."""
        return self.embedding.table

    @property
    def max_len(self) -> int | None:
        """Longest input; None: no limit."""
        return self.embedding.max_len

    def overlap(self, ids: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
        """Which tokens stand in the other text too."""
        number = (ids == self.separator).cumsum(1)  # of the text that a token belongs to
        loud = ids != self.separator
        for token in self.silent:
            loud = loud & (ids != token)
        first, second = loud & (number == 0), loud & (number == 1)
        alike = (ids[:, :, None] == ids[:, None, :]) & first[:, :, None] & second[:, None, :]
        return alike.any(2) | alike.any(1)

    def forward(
        self,
        ids: Int[Tensor, "batch time"],
        positions: Int[Tensor, "rows time"] | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """States of the tokens, marked ones moved by the vector."""
        extra = {} if types is None else {"types": types}
        states: Tensor = self.embedding(ids, positions, **extra)
        return states + self.overlap(ids)[..., None] * self.mark
