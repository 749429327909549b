"""The task `draw`: an image for a caption, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import Rows, read
from twofold.tasks.draw.data import PARTS, DrawData
from twofold.tasks.draw.model import DrawModel
from twofold.tasks.model import Model
from twofold.tasks.task import Evaluation, Task


class DrawTask(Task):
    """The pixels of unseen images, each predicted from the caption and the pixels before it; the share that is right
    decides."""

    name: ClassVar[str] = "draw"
    metric: ClassVar[str] = "pixel_accuracy"
    default_data: ClassVar[str] = "digits"
    baselines: ClassVar[tuple[str, ...]] = ("mixed-lstm",)
    model: ClassVar[type[Model]] = DrawModel
    beside: ClassVar[tuple[str, ...]] = ("bits_per_pixel",)

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> DrawData:
        return DrawData.from_rows(source if isinstance(source, Rows) else read(source, columns=columns))

    def evaluate(self, model: Model, data: DrawData, part: str = "test", **setting: Any) -> Evaluation:
        """Accuracy, bits and log-likelihood (in nats) of pixels, and accuracy with the captions' bytes too.

        Args:
            setting: `images` to judge on the first so many.
        """
        assert isinstance(model, DrawModel)
        captions, images = data.part(part)
        most = int(setting.get("images", len(captions)))
        right, nats = model.score(captions[:most], images[:most])
        every, _ = model.score(captions[:most], images[:most], pixels_only=False)
        figures = {
            "pixel_accuracy": float(right.mean()),
            "bits_per_pixel": float(-nats.mean() / np.log(2)),
            "log_likelihood": float(nats.mean()),
            "token_accuracy": float(every.mean()),
        }
        size = images.shape[1] * images.shape[2]
        return Evaluation(figures, right.reshape(-1, size).mean(1))

    def describe(self, data: DrawData) -> dict[str, Any]:
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": {p: {"images": int((data.parts == p).sum())} for p in PARTS},
            "notes": [],
        }

    def cut(self, data: DrawData, share: float) -> DrawData:
        return data.cut(share)

    def requests(self, model: Model, data: DrawData) -> tuple[Callable[[Any], Any], list[Any]]:
        """Drawing one image."""
        assert isinstance(model, DrawModel)
        return model.draw, data.part("test")[0]
