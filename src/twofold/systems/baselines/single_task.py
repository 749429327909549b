"""single-task: a network for each target, which share nothing: what one network for all has to be as good as."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import Field, PositiveInt

from twofold import computing
from twofold.catalog import baseline
from twofold.parts import Part, SideBySide, SlimDecoder, SlimEncoder, SlimNetwork
from twofold.tasks.segment import SegmentSystem
from twofold.tasks.segment.data import Targets
from twofold.training import Recipe


@baseline(
    "single-task",
    title="Deep Residual Learning for Image Recognition",
    tasks=("segment",),
    source="https://arxiv.org/abs/1512.03385",
    needs=("segment images", "depth from one image", "edges of an image"),
)
class SingleTask(SegmentSystem):
    """A residual network with a feature pyramid for each target."""

    dims: tuple[PositiveInt, ...] = Field((10, 20, 30, 40), min_length=1, description="channels of an encoder's stages")
    decoder: int = Field(10, ge=1, description="channels of each decoder")
    group: int = Field(2, ge=1, description="channels that are normalised together")

    def network(self, shape: tuple[int, int, int], targets: Targets) -> Part:
        nets = []
        for name, target in targets.items():
            encoder = SlimEncoder(shape[2], [(dim,) for dim in self.dims], self.group)
            decoder = SlimDecoder(self.dims, (self.decoder,), target.outputs, self.group)
            nets.append(SlimNetwork(encoder, [decoder], [name]))
        return SideBySide(nets)

    def recipe(self) -> Recipe:
        # The norm of the whole gradient is no network's own: clipping would tie what shares nothing.
        return Recipe(lr=self.lr, clip=0.0, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, dims=(4, 6), decoder=4, batch=8)  # type: ignore[call-arg]
