"""Sequences of texts and pixels in one vocabulary: tokens that are read with what stands around them on the page."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from twofold.parts.arguments import at_least_one
from twofold.parts.embeddings import Table
from twofold.parts.heads import LMHead
from twofold.parts.init import normal
from twofold.parts.linear import Dense
from twofold.parts.norms import LayerNorm
from twofold.parts.part import Part
from twofold.parts.stack import Stack

Cells = Int[Tensor, "batch time nine"]


class PxByEmbedding(Part):
    """A token with its 3 × 3 neighbourhood: `σ(α) X + (1 − σ(α)) Conv(X)`, flattened, mapped and normed.

    Furfaro 2024, https://arxiv.org/abs/2409.15512. X holds the vectors of the nine cells, α is a learned number for
    each; α → ∞ leaves the vectors as they are.

    Args:
        vocab: number of tokens.
        dim: width that comes out.
        channels: of a cell's vector (default: dim / 9, and at least 9).
    """

    def __init__(self, vocab: int, dim: int, channels: int | None = None) -> None:
        super().__init__()
        at_least_one("PxByEmbedding", vocab=vocab, dim=dim, channels=channels)
        self.channels = max(9, dim // 9) if channels is None else channels
        self.tokens = Table(vocab, self.channels)
        self.kernel = nn.Parameter(torch.empty(self.channels, self.channels, 3, 3))
        normal(self.kernel, (9 * self.channels) ** -0.5)
        self.alpha = nn.Parameter(torch.zeros(9))
        self.out, self.norm = Dense(9 * self.channels, dim), LayerNorm(dim)

    def forward(self, cells: Cells) -> Float[Tensor, "batch time dim"]:
        """States of tokens, each given by its nine cells, row by row, itself in the middle."""
        x = self.tokens(cells).flatten(0, 1).transpose(1, 2).unflatten(2, (3, 3))
        share = self.alpha.sigmoid().view(3, 3)
        mixed = share * x + (1 - share) * F.conv2d(x, self.kernel, padding=1)
        return self.norm(self.out(mixed.flatten(1))).view(*cells.shape[:2], -1)


class CentreEmbedding(Part):
    """A vector for each token and nothing of what stands around it, from the same nine cells.

    Args:
        vocab: number of tokens.
        dim: width that comes out.
    """

    def __init__(self, vocab: int, dim: int) -> None:
        super().__init__()
        at_least_one("CentreEmbedding", vocab=vocab, dim=dim)
        self.tokens, self.norm = Table(vocab, dim), LayerNorm(dim)

    def forward(self, cells: Cells) -> Float[Tensor, "batch time dim"]:
        """States of the tokens in the middle."""
        return self.norm(self.tokens(cells[..., 4]))


class NextToken(Part):
    """Logits of the token that follows a window, `[B, vocab]`, from its last state.

    Layers may look both ways: the window holds nothing that comes later.

    Args:
        embedding: of cells.
        stack: of the layers.
        head: from states to logits.
    """

    def __init__(self, embedding: Part, stack: Stack, head: LMHead) -> None:
        super().__init__()
        self.embedding, self.stack, self.head = embedding, stack, head

    def forward(self, cells: Cells) -> Float[Tensor, "batch vocab"]:
        states: Tensor = self.stack(self.embedding(cells))
        return self.head(states[:, -1])
