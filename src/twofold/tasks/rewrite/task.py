"""The task `rewrite`: how near a rewritten text is to the one that was wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import Rows, read
from twofold.tasks.model import Model
from twofold.tasks.rewrite.data import PARTS, RewriteData
from twofold.tasks.rewrite.model import RewriteModel
from twofold.tasks.task import Evaluation, Task


class RewriteTask(Task):
    """Edits between what was written and what was wanted, as a share of its characters; fewer are better."""

    name: ClassVar[str] = "rewrite"
    metric: ClassVar[str] = "character_error_rate"
    direction: ClassVar[str] = "lower"
    default_data: ClassVar[str] = "respell"
    baselines: ClassVar[tuple[str, ...]] = ("t5",)
    model: ClassVar[type[Model]] = RewriteModel
    beside: ClassVar[tuple[str, ...]] = ("exact_match",)

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> RewriteData:
        return RewriteData.from_rows(source if isinstance(source, Rows) else read(source, columns=columns))

    def evaluate(self, model: Model, data: RewriteData, part: str = "test", **setting: Any) -> Evaluation:
        """Character error rate, exact match, and the log likelihood of the targets in nats a byte.

        Args:
            setting: `texts` to judge on the first so many.
        """
        assert isinstance(model, RewriteModel)
        sources, targets = (x[: setting.get("texts")] for x in data.part(part))
        made = model.rewrite(sources)
        edits = np.array([edit_distance(a, b) for a, b in zip(made, targets, strict=True)], float)
        sizes = np.array([len(text) for text in targets], float)
        figures = {
            "character_error_rate": float(edits.sum() / sizes.sum()),
            "exact_match": float((edits == 0).mean()),
            "log_likelihood": model.log_likelihood(sources, targets),
        }
        return Evaluation(figures, edits / sizes)

    def describe(self, data: RewriteData) -> dict[str, Any]:
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": {p: {"pairs": int((data.parts == p).sum())} for p in PARTS},
            "notes": [],
        }

    def cut(self, data: RewriteData, share: float) -> RewriteData:
        return data.cut(share)

    def requests(self, model: Model, data: RewriteData) -> tuple[Callable[[Any], Any], list[Any]]:
        """Rewriting one text."""
        assert isinstance(model, RewriteModel)
        return model.rewrite, data.part("test")[0]


def edit_distance(a: str, b: str) -> int:
    """How many characters must be added, left out or replaced to come from one text to the other (Levenshtein)."""
    row = np.arange(len(b) + 1)
    letters = np.array(list(b))
    steps = np.arange(len(b) + 1)
    for i, letter in enumerate(a, 1):
        new = np.minimum(row[1:] + 1, row[:-1] + (letters != letter))
        new = np.concatenate([[i], new])
        row = np.minimum.accumulate(new - steps) + steps  # what is added costs one a step to the right
    return int(row[-1])
