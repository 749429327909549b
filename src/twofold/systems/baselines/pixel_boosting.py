"""pixel-boosting: boosted decision trees on the pixels of an image, with scikit-learn's histogram boosting.

Friedman 2001, https://doi.org/10.1214/aos/1013203451; Ke et al. 2017 (LightGBM), whose histograms scikit-learn follows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field

from twofold.catalog import Budget, baseline
from twofold.errors import UserError
from twofold.parts.trees import Trees
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.classify import ClassifyData, ClassifyModel, ImageReader, ManyLabels, Number, OneLabel, settings


@baseline(
    "pixel-boosting",
    title="Gradient boosting on pixels",
    tasks=("classify",),
    source="https://doi.org/10.1214/aos/1013203451",
    needs=("classify images without a network", "gradient boosted trees", "small images"),
)
class PixelBoosting(ModelSystem):
    """Gradient-boosted trees on pixels; how many rounds is chosen on the validation part."""

    reads: ClassVar[tuple[str, ...]] = ("image",)

    rounds: int = Field(100, ge=1, description="of boosting, at most")
    lr: float = Field(0.1, gt=0, le=1, description="how much each round adds")
    leaves: int = Field(31, ge=2, description="of a tree, at most")

    def fit(
        self,
        data: ClassifyData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        reader = ImageReader(np.shape(data.inputs)[1:])
        (train, values), (judged, truth) = data.part("train"), data.part("validation")
        x, held = (reader.tensor(part).flatten(1).numpy() for part in (train, judged))
        columns = values.T if isinstance(data.target, ManyLabels) else [values]
        others = truth.T if isinstance(data.target, ManyLabels) else [truth]
        fitted = [self._boosted(data.target, x, y, held, v, seed) for y, v in zip(columns, others, strict=True)]
        net = as_part(fitted, data.target)
        model = ClassifyModel(net.eval(), None, settings(data.target, reader))
        return Fitted(model.remember(self.id, self.options(), {"trees": len(net.output)}))

    def small(self) -> Self:
        return replace(self, rounds=5, leaves=5)  # type: ignore[type-var]

    def _boosted(
        self, target: Any, x: np.ndarray, y: np.ndarray, held: np.ndarray, truth: np.ndarray, seed: int
    ) -> Any:
        """scikit-learn's estimator; None where a label is always there or never."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        shape = {"max_iter": self.rounds, "learning_rate": self.lr, "max_leaf_nodes": self.leaves, "max_bins": 63}
        ends = {"early_stopping": True, "n_iter_no_change": 10, "random_state": seed}
        if isinstance(target, Number):
            scaled, told = ((v - target.center) / target.spread for v in (y, truth))
            return HistGradientBoostingRegressor(**shape, **ends).fit(x, scaled, X_val=held, y_val=told)
        if isinstance(target, ManyLabels):
            if y.all() or not y.any():
                return 20.0 if y.all() else -20.0
            return HistGradientBoostingClassifier(**shape, **ends).fit(x, y, X_val=held, y_val=truth)
        weights = np.array(target.weights)[y] if target.weights else None
        made = HistGradientBoostingClassifier(**shape, **ends)
        return made.fit(x, y, sample_weight=weights, X_val=held, y_val=truth)


def as_part(fitted: list[Any], target: Any) -> Trees:
    """Estimators as one sum of trees with the same outputs; a number in place of one is its constant output."""
    found: list[tuple[int, np.ndarray]] = []
    base = np.zeros(target.outputs, np.float32)
    for place, model in enumerate(fitted):
        if isinstance(model, float):
            base[place] = model
            continue
        start = np.ravel(model._baseline_prediction)
        binary = isinstance(target, OneLabel) and len(start) == 1
        first = 1 if binary else place
        base[first : first + len(start)] = start
        for rounds in model._predictors:
            found += [(first + n, tree.nodes) for n, tree in enumerate(rounds)]
    size = max((len(nodes) for _, nodes in found), default=1)
    depth = max((int(nodes["depth"].max()) for _, nodes in found), default=0)
    net = Trees(max(1, len(found)), size, target.outputs, depth)
    net.base.copy_(torch.from_numpy(base))
    for row, (output, nodes) in enumerate(found):
        own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
        net.output[row] = output
        for name, values in (
            ("feature", np.where(leaf, 0, nodes["feature_idx"])),
            ("threshold", np.where(leaf, 0, nodes["num_threshold"])),
            ("left", np.where(leaf, own, nodes["left"])),
            ("right", np.where(leaf, own, nodes["right"])),
            ("value", np.where(leaf, nodes["value"], 0)),
        ):
            getattr(net, name)[row, : len(nodes)] = torch.from_numpy(np.ascontiguousarray(values))
    return net
