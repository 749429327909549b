"""backbone: a language model of any layers, by name: the other side of every comparison of mixers."""

from __future__ import annotations

from typing import Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import Pattern
from twofold.tasks import backbones
from twofold.tasks.options import Backbone
from twofold.tasks.sequences import SequenceSystem


@baseline(
    "backbone",
    title="A stack of any layers",
    tasks=("language", "solve"),
    needs=("compare attention, state spaces and convolutions", "train a language model with another mixer"),
)
class AnyBackbone(SequenceSystem):
    """Language model of any layers: a mixer's name, a system's, or a pattern of layers as data."""

    backbone: Backbone = Field(
        "attention",
        description="a mixer or a system of the mixers family (attention, window, …), with layers x width where they "
        "are other than the options say (attention-4x96), or layers: [{mixer: attention, position: rope, times: 2}]",
    )

    def pattern(self) -> Pattern:
        return backbones.pattern(
            self.backbone, self.dim, self.layers, heads=self.heads, conv=self.conv, max_len=self.length
        )

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2))
