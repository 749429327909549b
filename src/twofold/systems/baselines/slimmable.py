"""slimmable: an encoder that several decoders share, every stage of which works at several widths.

Yu et al. 2018, "Slimmable Neural Networks", https://arxiv.org/abs/1812.08928, trained by the sandwich rule of Yu &
Huang 2019, https://arxiv.org/abs/1903.05134.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold.catalog import baseline
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Part, SlimDecoder, SlimEncoder, SlimNetwork, Widths, sandwich, slim_sizes
from twofold.tasks import Model
from twofold.tasks.segment import SegmentBatch, SegmentData, SegmentSystem
from twofold.tasks.segment.data import Targets


@dataclass(frozen=True)
class SandwichBatch(SegmentBatch):
    """A batch, and the configurations that learn from it, the widest first."""

    configurations: tuple[Widths, ...] = ()


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SlimSystem(SegmentSystem):
    """Networks of several widths; the widest one and a few others learn from each batch."""

    dims: tuple[PositiveInt, ...] = Field((10, 20, 30, 40), min_length=1, description="channels of encoder stages")
    decoder: int = Field(10, ge=1, description="channels of each decoder")
    ratios: tuple[PositiveFloat, ...] = Field(
        (0.4, 0.6, 0.8, 1.0), min_length=1, description="widths as shares of the channels, rising to 1"
    )
    group: int = Field(2, ge=1, description="channels that are normalised together; widths are whole groups")
    between: int = Field(2, ge=0, description="configurations drawn for each batch beside the widest and the narrowest")

    def network(self, shape: tuple[int, int, int], targets: Targets) -> SlimNetwork:
        if self.ratios[-1] != 1:
            raise UserError(f"{self.id}: ratios {list(self.ratios)} must rise to 1, the full width")
        sizes = [slim_sizes(dim, self.ratios, self.group) for dim in self.dims]
        encoder = SlimEncoder(shape[2], sizes, self.group)
        own, inputs = slim_sizes(self.decoder, self.ratios, self.group), [each[-1] for each in sizes]
        decoders = [SlimDecoder(inputs, own, target.outputs, self.group) for target in targets.values()]
        return SlimNetwork(encoder, decoders, list(targets))

    def batches(self, model: Model, data: SegmentData, seed: int) -> Callable[[int, float], SandwichBatch]:
        assert isinstance(model.net, SlimNetwork)
        plain, parts, many = super().batches(model, data, seed), len(model.net.configuration), model.net.widths

        def batch(step: int, progress: float) -> SandwichBatch:
            found: SegmentBatch = plain(step, progress)
            drawn = sandwich([many] * parts, np.random.default_rng((seed, step)), self.between)
            chosen = tuple(drawn) if many > 1 else tuple(drawn[:1])
            return SandwichBatch(found.images, found.values, found.targets, chosen)

        return batch

    def loss(self, net: Part, batch: SegmentBatch) -> Loss:
        assert isinstance(net, SlimNetwork)
        assert isinstance(batch, SandwichBatch)
        full: list[Tensor] = []
        losses = []
        for widths in batch.configurations:
            features = net.configure(widths).features(batch.images)
            own = self.joint(net.decode(features), batch)
            if full:
                own = self.narrow(net, own, features, full)
            full = full or [each.detach() for each in features]
            losses.append(own)
        net.width = net.widths - 1
        value = torch.stack([own.value for own in losses]).mean()
        return Loss(value, {**losses[0].figures, "loss": value.detach()})

    def narrow(self, net: SlimNetwork, loss: Loss, features: list[Tensor], full: list[Tensor]) -> Loss:
        """What a narrow configuration minimises: its loss on labels, and what a method adds.

        Args:
            features: of the encoder at this configuration, by stage.
            full: of the widest one, without gradient.
        """
        return loss

    def small(self) -> Self:
        return replace(self, dims=(4, 6), decoder=4, ratios=(0.5, 1.0), between=1, batch=8)


@baseline(
    "slimmable",
    title="Slimmable Neural Networks",
    tasks=("segment",),
    source="https://arxiv.org/abs/1812.08928",
    needs=("choose the size of an image network after training", "one network for several dense predictions"),
)
class Slimmable(SlimSystem):
    """Segmentation, depth and edges by one network whose widths are chosen after training."""

    by_name: ClassVar[bool] = True
