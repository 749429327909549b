"""The task `segment`: what every pixel of an image is: its class, its depth, whether it lies on an edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.catalog import Steps, configure
from twofold.data import Rows, read
from twofold.tasks.model import Model
from twofold.tasks.segment.data import PARTS, SegmentData, from_rows
from twofold.tasks.segment.model import SegmentModel
from twofold.tasks.segment.targets import Array
from twofold.tasks.system import ModelSystem
from twofold.tasks.task import Evaluation, Task


class SegmentTask(Task):
    """Answers for every pixel: mean IoU of classes, R² of numbers, F1 of marks; the mean over targets decides."""

    name: ClassVar[str] = "segment"
    metric: ClassVar[str] = "score"
    default_data: ClassVar[str] = "scenes"
    baselines: ClassVar[tuple[str, ...]] = ("mean-map", "single-task")
    model: ClassVar[type[Model]] = SegmentModel
    beside: ClassVar[tuple[str, ...]] = ("segmentation_miou", "depth_rmse", "edges_f1")

    def __init__(self) -> None:
        self._yardsticks: dict[tuple[str, str, int], Model] = {}

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> SegmentData:
        return from_rows(source if isinstance(source, Rows) else read(source, columns=columns))

    def evaluate(self, model: Model, data: SegmentData, part: str = "test", **setting: Any) -> Evaluation:
        """Figures of every target, under its name, over one part; `score` is the mean of their main figures.

        Args:
            setting: `compute`: the model is first configured to spend that share of its operations (`configure`, with
                `preference` if that is given; widths are chosen on training images), and `compute` says what it spends.
                `relative`: the id of a system that is fitted to the same data for `relative_steps`; `relative_score` is
                the mean over targets of a figure divided by that system's (of errors, its divided by the model's).
        """
        assert isinstance(model, SegmentModel)
        more: dict[str, float] = {}
        if "compute" in setting:
            model = model.configure(float(setting["compute"]), setting.get("preference"), data=data)
            report = model.history[-1]["report"]
            more = {"compute": report["compute"], "parameters_kept": float(report["parameters"])}
        figures, items = self._figures(model, data, part)
        if "relative" in setting:
            base = self._yardstick(str(setting["relative"]), data, int(setting.get("relative_steps", 300)))
            more |= _relative(figures, self._figures(base, data, part)[0], data)
        return Evaluation(figures | more, items)

    @staticmethod
    def _figures(model: SegmentModel, data: SegmentData, part: str) -> tuple[dict[str, float], Array]:
        index = data.indices(part)
        answers = model.answers(data.images[index])
        figures: dict[str, float] = {}
        mains, items = [], []
        for name, target in data.targets.items():
            own, each = target.judge(answers[name], data.values[name][index])
            figures |= {f"{name}_{figure}": value for figure, value in own.items()}
            mains.append(own[target.figure])
            items.append(each)
        labelled = np.isfinite(items)
        counts = labelled.sum(0)
        sums = np.where(labelled, items, 0.0).sum(0)
        return {"score": float(np.mean(mains)), **figures}, (sums / np.maximum(counts, 1))[counts > 0]

    def _yardstick(self, id: str, data: SegmentData, steps: int) -> SegmentModel:
        key = (id, data.fingerprint, steps)
        if key not in self._yardsticks:
            system = configure(id)
            assert isinstance(system, ModelSystem)
            self._yardsticks[key] = system.fit(data, Steps(steps), seed=0).model
        found = self._yardsticks[key]
        assert isinstance(found, SegmentModel)
        return found

    def describe(self, data: SegmentData) -> dict[str, Any]:
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": {p: {"images": int((data.parts == p).sum())} for p in PARTS},
            "notes": list(data.notes),
        }

    def cut(self, data: SegmentData, share: float) -> SegmentData:
        return data.cut(share)

    def requests(self, model: Model, data: SegmentData) -> tuple[Callable[[Any], Any], list[Any]]:
        """Every pixel of one image."""
        assert isinstance(model, SegmentModel)
        return model.predict, list(data.images[data.indices("test")[:200]])


def _relative(own: Mapping[str, float], base: Mapping[str, float], data: SegmentData) -> dict[str, float]:
    """Each target's figure divided by another model's, and the mean over targets."""
    found = {}
    for name, target in data.targets.items():
        figure, error = target.relative
        mine, other = own[f"{name}_{figure}"], base[f"{name}_{figure}"]
        above, below = (other, mine) if error else (mine, other)
        found[f"{name}_relative"] = above / below if below > 0 else math.nan
    return {**found, "relative_score": float(np.mean(list(found.values())))}
