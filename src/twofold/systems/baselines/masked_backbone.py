"""masked-backbone: an encoder of any layers, by name, that fills in hidden tokens: the other side of two-way mixers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

from pydantic import Field

from twofold.catalog import baseline
from twofold.parts import MLMHead, SequenceModel
from twofold.tasks import backbones
from twofold.tasks.options import Backbone
from twofold.tasks.represent import MaskedSystem
from twofold.tasks.system import BYTES, try_on_meta


@baseline(
    "masked-backbone",
    title="An encoder of any layers",
    tasks=("represent",),
    needs=("compare mixers of encoders", "pre-train an encoder with another mixer on my texts"),
)
class MaskedBackbone(MaskedSystem):
    """Masked language model of any layers: a mixer's name, a system's, or a pattern of layers as data."""

    by_name: ClassVar[bool] = True

    mask_rate: float = Field(0.15, gt=0, le=1, description="share of tokens that are hidden")
    dim: int = Field(96, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    conv: int = Field(0, ge=0, le=64, description="width of a convolution that every mixer reads through; 0: none")
    backbone: Backbone = Field(
        "attention",
        description="a mixer or a system of the mixers family (attention, hydra, …), with layers x width where they "
        "are other than the options say (hydra-4x96), or layers: [{mixer: attention, position: rope, times: 2}]",
    )

    def network(self, vocab: int) -> SequenceModel:
        found = backbones.pattern(
            self.backbone, self.dim, self.layers, heads=self.heads, conv=self.conv, max_len=self.length
        )
        net = found.network(vocab, max_len=self.length, tokens=self.batch * self.length, head=False)
        return SequenceModel(net.embedding, net.stack, MLMHead(net.dim, vocab))

    def check(self) -> None:
        try_on_meta(lambda: self.network(BYTES))

    def small(self) -> Self:
        return replace(super().small(), dim=32, layers=2, heads=2)  # type: ignore[call-arg]
