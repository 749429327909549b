"""mean-map: at every place of an image what is most usual there, whatever the image shows."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from twofold.catalog import Budget, baseline
from twofold.parts import ConstantMaps
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.segment import SegmentData, SegmentModel, settings


@baseline(
    "mean-map",
    title="The most usual answer at each place",
    tasks=("segment",),
    needs=("the floor for predictions at every pixel",),
)
class MeanMap(ModelSystem):
    """The commonest class, the mean number, and marks where most images have one, place by place."""

    reads: ClassVar[tuple[str, ...]] = ("image",)

    def fit(
        self,
        data: SegmentData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        train = data.indices("train")
        maps = {name: target.usual(data.values[name][train]) for name, target in data.targets.items()}
        net = ConstantMaps([len(own) for own in maps.values()], data.shape[:2], list(maps))
        net.assign({f"maps.{i}": torch.from_numpy(own.astype(np.float32)) for i, own in enumerate(maps.values())})
        model = SegmentModel(net.eval(), None, settings(data.targets, data.shape))
        return Fitted(model.remember(self.id, self.options(), {"images": len(train)}))
