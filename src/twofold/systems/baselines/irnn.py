"""irnn: a plain recurrent network whose matrix starts as the identity.

Le, Jaitly & Hinton 2015, "A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
https://arxiv.org/abs/1504.00941
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import IdentityRNN, SequenceModel
from twofold.parts.presets import recurrent
from twofold.tasks.solve import RecurrentSystem


@baseline(
    "irnn",
    title="A Simple Way to Initialize Recurrent Networks of Rectified Linear Units",
    tasks=("solve",),
    source="https://arxiv.org/abs/1504.00941",
    needs=("plain recurrent network", "memory of a recurrent network"),
)
class IRnn(RecurrentSystem):
    """Recurrent network with a full matrix that starts as the identity, ReLU, and a linear read-out."""

    units: int = Field(100, ge=1, description="width of the state")

    def network(self, vocab: int) -> SequenceModel:
        return recurrent(vocab, IdentityRNN(self.units))

    def small(self) -> Self:
        return replace(super().small(), units=16)  # type: ignore[call-arg]
