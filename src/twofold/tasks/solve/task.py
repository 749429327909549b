"""The task `solve`: problems with known answers, at lengths seen in training and beyond."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import read
from twofold.data.made import algorithms, sequences
from twofold.data.rows import Rows
from twofold.errors import unknown
from twofold.tasks.model import Model
from twofold.tasks.solve.data import SolveData
from twofold.tasks.solve.labelled import LabelData, LabelModel
from twofold.tasks.solve.model import SolveModel
from twofold.tasks.task import Evaluation, Task


class SolveTask(Task):
    """Accuracy by length, the mean over lengths; or, of sequences with labels (`mqar`), the share that is right."""

    name: ClassVar[str] = "solve"
    metric: ClassVar[str] = "token_accuracy"
    default_data: ClassVar[str] = "algorithms:sort"
    model: ClassVar[type[Model]] = SolveModel

    def kind_of(self, spec: Mapping[str, Any]) -> type[Model]:
        return LabelModel if spec.get("kind") == "labels" else SolveModel

    def metric_of(self, data: SolveData | LabelData) -> str:
        return "accuracy" if isinstance(data, LabelData) else self.metric

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> SolveData | LabelData:
        """Problems: `algorithms:copy` and the like (lengths 1 to 10, tested to 20); made sequences with labels, such
        as `mqar` or `mqar(time=128, pairs=8)`; or rows with prompt and answer."""
        if isinstance(source, Rows):
            return SolveData.from_rows(source)
        made = sequences.parse(str(source))
        if made is not None:
            return LabelData(made)
        kind, _, name = str(source).partition(":")
        if kind == "algorithms":
            if (name or "sort") not in algorithms.NAMES:
                raise unknown("problem", name, algorithms.NAMES)
            return SolveData.made(name or "sort", 10, 20)
        return SolveData.from_rows(read(source, columns=columns))

    def evaluate(self, model: Model, data: SolveData | LabelData, part: str = "test", **setting: Any) -> Evaluation:
        """Token accuracy and exact match over all lengths, the trained ones, and longer ones where there are some."""
        if isinstance(data, LabelData):
            assert isinstance(model, LabelModel)
            shares, likely = model.score(data.part(part))
            nats = float(likely.mean())
            found = {"accuracy": float(shares.mean()), "log_likelihood": nats, "bits_per_label": -nats / math.log(2)}
            return Evaluation(found, shares)
        assert isinstance(model, SolveModel)
        scores = model.score(data.validation if part == "validation" else data.test)
        longest = int(scores.lengths.max())
        ranges = {"": (1, longest), "_in_range": (1, data.train_len), "_unseen": (data.train_len + 1, longest)}
        figures: dict[str, float] = {}
        for suffix, (first, last) in ranges.items():
            token, exact = scores.between(first, last)
            if not np.isnan(token):
                figures |= {f"token_accuracy{suffix}": token, f"exact_match{suffix}": exact}
        return Evaluation(figures, scores.token)

    def describe(self, data: SolveData | LabelData) -> dict[str, Any]:
        if isinstance(data, LabelData):
            return data.describe()
        counts = {
            "train": {"problems": len(data.train)},
            "validation": {"problems": sum(map(len, data.validation))},
            "test": {"problems": sum(map(len, data.test))},
        }
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": counts,
            "notes": [f"trained on lengths up to {data.train_len}"],
        }

    def cut(self, data: SolveData | LabelData, share: float) -> SolveData | LabelData:
        """The first problems of the training part; validation and test stay whole (of made sequences they are cut)."""
        if isinstance(data, LabelData):
            return data.cut(share)
        keep = max(8, round(len(data.train) * share))
        train = data.train
        cut = replace(train, lengths=train.lengths[:keep], prompts=train.prompts[:keep], answers=train.answers[:keep])
        return replace(data, train=cut)

    def requests(self, model: Model, data: SolveData | LabelData) -> tuple[Callable[[Any], Any], list[Any]]:
        """Solving one problem, or labelling one sequence."""
        if isinstance(data, LabelData):
            assert isinstance(model, LabelModel)
            return model.label, list(data.part("test").ids[:64].split(1))
        assert isinstance(model, SolveModel)
        prompts = [row[row >= algorithms.FIRST].tolist() for given in data.test for row in given.prompts[:4]]
        return lambda ids: model.solve([[model.names[i] for i in ids]]), prompts
