"""most-frequent: says the same of every input, whatever it is; what any classifier must beat."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from twofold.catalog import Budget, baseline
from twofold.checkpoints.folder import Saved
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.classify import ClassifyData, ClassifyModel, ManyLabels, OneLabel
from twofold.tasks.classify.data import Inputs


class ConstantModel(ClassifyModel):
    """No network: the setting `logits` is the answer to everything."""

    def logits(self, inputs: Inputs) -> np.ndarray:
        return np.tile(np.array(self.spec["logits"], np.float32), (len(inputs), 1))


@baseline(
    "most-frequent",
    title="The most frequent class",
    tasks=("classify",),
    needs=("how hard is my classification problem", "majority baseline"),
)
class MostFrequent(ModelSystem):
    """The most frequent class of the training part, with the classes' shares as probabilities; of numbers the mean."""

    reads: ClassVar[tuple[str, ...]] = ("text", "image")

    def fit(
        self,
        data: ClassifyData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        values = data.part("train")[1]
        if isinstance(data.target, OneLabel):
            shares = np.bincount(values, minlength=data.target.outputs) / len(values)
            logits = np.log(shares)
        elif isinstance(data.target, ManyLabels):
            shares = np.clip(values.mean(0), 1e-4, 1 - 1e-4)
            logits = np.log(shares / (1 - shares))
        else:
            logits = np.zeros(1)
        spec = {
            "target": data.target.spec(),
            "input": {"kind": data.modality},
            "logits": [round(float(x), 6) for x in logits],
        }
        return Fitted(ConstantModel(None, None, spec).remember(self.id, self.options()))

    @staticmethod
    def restore(saved: Saved) -> ConstantModel:
        """The model of a folder that was read."""
        return ConstantModel.restore(saved)
