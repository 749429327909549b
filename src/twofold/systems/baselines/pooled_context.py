"""pooled-context: important tokens whole, everything else as means of segments of one size: the yardstick for vcc.

Dai et al. 2020, "Funnel-Transformer", https://arxiv.org/abs/2006.03236, for the pooling of neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import SequenceModel
from twofold.surgery import with_vcc
from twofold.tasks.lengthened import LengthenedSystem


@baseline(
    "pooled-context",
    title="Means of neighbouring tokens",
    tasks=("classify", "solve"),
    source="https://arxiv.org/abs/2006.03236",
    needs=("classify long texts at less cost", "pool neighbouring tokens"),
)
class PooledContext(LengthenedSystem):
    """Classifier of long texts whose blocks read means of equally long segments beside a few important tokens."""

    by_name: ClassVar[bool] = True

    size: int = Field(8, ge=1, description="tokens in a segment; 1: every token is read, as by the encoder as it was")

    def shortened(self, net: SequenceModel, length: int) -> SequenceModel:
        return with_vcc(net, sizes=(self.size,), first=self.first, last=self.last)

    def small(self) -> Self:
        return replace(super().small(), size=4)  # type: ignore[call-arg]
