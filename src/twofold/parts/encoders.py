"""`TextEncoder`: one vector (or a few) for each text."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part


class TextEncoder(Part):
    """A sequence model, a pool, a projection (where given) and unit length (where asked).

    Args:
        model: its head, if any, is not used.
        pool: `pool(states, real)`.
        project: a part `[..., D] -> [..., d]` after pooling.
        normalise: vectors of unit Euclidean length, so that a dot product is a cosine.
    """

    def __init__(self, model: SequenceModel, pool: Part, project: Part | None = None, normalise: bool = True) -> None:
        super().__init__()
        self.model, self.pool, self.project, self.normalise = model, pool, project, normalise

    def forward(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch *few out"]:
        """Vectors `[B, d]` (or `[B, m, d]`) of texts; `real` marks what is not padding."""
        return self.upper(self.lower(ids, real, 0), real, 0)

    def lower(
        self, ids: Int[Tensor, "batch time"], real: Bool[Tensor, "batch time"] | None, layers: int
    ) -> Float[Tensor, "batch time dim"]:
        """States after the first `layers` blocks; worth keeping where those are frozen."""
        return self.model.states(ids, real, stop=layers)

    def upper(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"] | None, layers: int
    ) -> Float[Tensor, "batch *few out"]:
        """The rest: blocks from `layers` on, pool, projection; `upper(lower(ids, real, n), real, n)` is `forward`."""
        mask = Mask.of(real)
        states = self.model.stack(states, mask, start=layers)
        pooled = self.pool(states, mask.real(states))
        if self.project is not None:
            pooled = self.project(pooled)
        return F.normalize(pooled, dim=-1) if self.normalise else pooled
