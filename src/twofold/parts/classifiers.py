"""Classifiers: an encoder and a head over the classes."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from twofold.parts.encoders import TextEncoder, Tower
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part


class TextClassifier(Tower):
    """Logits `[B, outputs]` of texts.

    Args:
        model: its head, if any, is not used.
        pool: `pool(states, real)` -> `[B, D]`.
        head: `[B, D]` -> `[B, outputs]`, say a `SequenceHead`.
    """

    def __init__(self, model: SequenceModel, pool: Part, head: Part) -> None:
        super().__init__()
        self.model, self.pool, self.head = model, pool, head

    @property
    def encoder(self) -> TextEncoder:
        """What the head reads, by the same weights."""
        return TextEncoder(self.model, self.pool, normalise=False)

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch *outputs"]:
        """Pool, then head."""
        logits: Tensor = self.head(self.pool(states, real))
        return logits


class Headed(Part):
    """One part, and another that reads what it gives: an encoder with its head, a prefix with what answers from it.

    Args:
        encoder: of the inputs.
        head: of what the encoder gives.
    """

    def __init__(self, encoder: Part, head: Part) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, inputs: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *outputs"]:
        read: Tensor = self.head(self.encoder(inputs))
        return read
