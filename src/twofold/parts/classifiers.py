"""Classifiers of texts: a sequence model, a pool, and a head over the classes."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from twofold.parts.encoders import Tower
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

    def read(
        self, states: Float[Tensor, "batch time dim"], real: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch outputs"]:
        """Pool, then head."""
        logits: Tensor = self.head(self.pool(states, real))
        return logits
