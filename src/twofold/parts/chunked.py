"""Texts in chunks, a vector each."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.parts.arguments import at_least_one
from twofold.parts.encoders import TextEncoder, Tower
from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel


class ChunkedEncoder(Tower):
    """A vector for each `size` tokens of a text, `[B, chunks, d]`; chunks that a text has not repeat its first.

    Dai & Callan 2019 (the best passage of a document), https://arxiv.org/abs/1905.09217

    Args:
        encoder: of a chunk.
        size: tokens of a chunk.
    """

    needs_ids: ClassVar[bool] = True

    def __init__(self, encoder: TextEncoder, size: int) -> None:
        super().__init__()
        at_least_one("ChunkedEncoder", size=size)
        self.encoder, self.size = encoder, size

    @property
    def model(self) -> SequenceModel:  # type: ignore[override]
        """The encoder's network."""
        return self.encoder.model

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch chunks dim"]:
        more = -ids.shape[1] % self.size
        seen = Mask.of(real).real(ids)
        pieces, there = (F.pad(x, (0, more)).unflatten(1, (-1, self.size)) for x in (ids, seen))
        held = there.any(-1)
        held[:, 0] = True
        vectors = self.encoder(pieces[held], there[held])
        found = vectors[(held.cumsum(1) - 1 + (held.sum(1).cumsum(0) - held.sum(1))[:, None]).clamp_min(0)]
        return found.where(held[..., None], found[:, :1])
