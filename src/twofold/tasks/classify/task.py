"""The task `classify`: which class, which labels or which number belongs to a text or an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import Rows, read
from twofold.measure import retrieval
from twofold.tasks.classify.data import PARTS, SHARES, ClassifyData, from_rows, take
from twofold.tasks.classify.model import ClassifyModel
from twofold.tasks.model import Model
from twofold.tasks.task import Evaluation, Task


class ClassifyTask(Task):
    """A label for each input; the share that is right decides (uneven classes: the mean recall over classes)."""

    name: ClassVar[str] = "classify"
    metric: ClassVar[str] = "accuracy"
    default_data: ClassVar[str] = "digits"
    baselines: ClassVar[tuple[str, ...]] = ("most-frequent", "tfidf-logistic", "minilm-knn", "pixel-boosting")
    model: ClassVar[type[Model]] = ClassifyModel
    shares: ClassVar[tuple[float, float, float]] = SHARES
    beside: ClassVar[tuple[str, ...]] = ("macro_f1", "calibration_error")

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> ClassifyData:
        return from_rows(source if isinstance(source, Rows) else read(source, columns=columns))

    def metric_of(self, data: ClassifyData) -> str:
        return data.target.metric

    def evaluate(self, model: Model, data: ClassifyData, part: str = "test", **setting: Any) -> Evaluation:
        """Figures over one part.

        Args:
            setting: `gallery`: of a model that answers from known items, also how it ranks all of them, those of the
                input's class being the ones to find (`map`). `metric` names another main figure and changes nothing.
        """
        assert isinstance(model, ClassifyModel)
        inputs, values = data.part(part)
        judged = data.target.judge(model.probabilities(inputs), values)
        figures, items = judged.figures, judged.items
        if setting.get("gallery"):
            likeness, classes = model.likeness(inputs)
            items = precision(likeness, classes, values)
            figures = {**figures, "map": float(items.mean())}
        return Evaluation(figures, items, judged.tables)

    def describe(self, data: ClassifyData) -> dict[str, Any]:
        counts = {p: {f"{data.modality}s": int(np.count_nonzero(data.parts == p))} for p in PARTS}
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": counts,
            "notes": list(data.notes),
        }

    def cut(self, data: ClassifyData, share: float) -> ClassifyData:
        return data.cut(share)

    def requests(self, model: Model, data: ClassifyData) -> tuple[Callable[[Any], Any], list[Any]]:
        assert isinstance(model, ClassifyModel)
        inputs = data.part("test")[0]
        return model.predict, [take(inputs, np.array([i])) for i in range(len(inputs))]


def precision(likeness: np.ndarray, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Average precision of each asked item, `[n]`: known items ranked by `likeness` `[n, known]`, found by class.

    Items of equal likeness are put in an order by chance, the same one always.
    """
    order = np.random.default_rng(0).permutation(likeness.shape[1])
    ranked = order[np.argsort(-likeness[:, order], axis=1, kind="stable")]
    places = {c: dict.fromkeys(np.flatnonzero(known == c).tolist(), 1) for c in np.unique(asked).tolist()}
    found: np.ndarray = retrieval.from_positions(ranked, [places[c] for c in asked.tolist()], ("map",))["map"]
    return found
