"""The task `represent`: what a network makes of texts that nobody labelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from twofold.errors import UserError
from twofold.tasks.language.data import LanguageData
from twofold.tasks.language.task import TextsTask
from twofold.tasks.model import Model
from twofold.tasks.represent.model import MaskedModel
from twofold.tasks.task import Evaluation


class RepresentTask(TextsTask):
    """Hidden tokens of unseen texts, filled in; the share that is right decides.

    Systems are comparable where their tokens are the same, as they are for those that learn them from the same texts.
    """

    name: ClassVar[str] = "represent"
    metric: ClassVar[str] = "masked_accuracy"
    default_data: ClassVar[str] = "pydoc"
    baselines: ClassVar[tuple[str, ...]] = ("bert",)
    model: ClassVar[type[Model]] = MaskedModel
    beside: ClassVar[tuple[str, ...]] = ("masked_loss",)

    def evaluate(self, model: Model, data: LanguageData, part: str = "test", **setting: Any) -> Evaluation:
        """Accuracy and nats over all hidden tokens of the part, and the accuracy of each window.

        Args:
            setting: `rate`, the share that is hidden (0.3), and `texts` to judge on the first so many.
        """
        if not isinstance(model, MaskedModel):
            raise UserError(f"{model.name} fills in no hidden tokens; represent judges masked language models")
        found = model.filled(data.part(part)[: setting.get("texts")], setting.get("rate", 0.3))
        asked = found.asked > 0
        total = max(1, int(found.asked.sum()))
        figures = {
            "masked_accuracy": float(found.right.sum()) / total,
            "masked_loss": float(found.nats.sum()) / total,
        }
        return Evaluation(figures, np.asarray(found.right[asked] / found.asked[asked], np.float64))

    def requests(self, model: Model, data: LanguageData) -> tuple[Callable[[Any], Any], list[Any]]:
        """The vector of one text."""
        assert isinstance(model, MaskedModel)
        return lambda text: model.encode(text, truncate=True), data.part("test")
