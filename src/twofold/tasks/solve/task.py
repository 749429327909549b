"""The task `solve`: problems with known answers, at lengths seen in training and beyond."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import read
from twofold.data.made import algorithms, sequences
from twofold.data.rows import Rows
from twofold.tasks.model import Model
from twofold.tasks.solve.data import SolveData
from twofold.tasks.solve.labelled import EncoderLabelModel, LabelData, LabelModel
from twofold.tasks.solve.made import MadeData, MadeModel
from twofold.tasks.solve.model import SolveModel
from twofold.tasks.solve.numbers import NumberData, NumberModel
from twofold.tasks.task import Evaluation, Task

Data = SolveData | MadeData
_KINDS: dict[Any, type[Model]] = {
    "labels": LabelModel,
    "encoder-labels": EncoderLabelModel,
    "numbers": NumberModel,
}


class SolveTask(Task):
    """Accuracy by length, the mean over lengths; of sequences with labels (`mqar`) the share that is right; of
    sequences of numbers (`adding`) the share of their variance that is explained."""

    name: ClassVar[str] = "solve"
    metric: ClassVar[str] = "token_accuracy"
    default_data: ClassVar[str] = "algorithms:sort"
    model: ClassVar[type[Model]] = SolveModel

    def kind_of(self, spec: Mapping[str, Any]) -> type[Model]:
        return _KINDS.get(spec.get("kind"), SolveModel)

    def metric_of(self, data: Data) -> str:
        return data.metric if isinstance(data, MadeData) else self.metric

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> Data:
        """Problems: `algorithms:copy` and the like (lengths 1 to 10, tested to 20), or of one length, with others in
        the test than in training, `algorithms:add(length=3, train=4000)`; made sequences with labels, such as
        `mqar` or `mqar(time=128, pairs=8)`, or with numbers, such as `adding`; or rows with prompt and answer."""
        if isinstance(source, Rows):
            return SolveData.from_rows(source)
        made = sequences.parse(str(source))
        if made is not None:
            return LabelData(made) if hasattr(made, "vocab") else NumberData(made)
        named = algorithms.named(str(source))
        if named is not None:
            if named.sizes:
                return SolveData.unseen(named.problem, **named.sizes)
            return SolveData.made(named.problem, 10, 20)
        return SolveData.from_rows(read(source, columns=columns))

    def evaluate(self, model: Model, data: Data, part: str = "test", **setting: Any) -> Evaluation:
        """Token accuracy and exact match over all lengths, the trained ones, and longer ones where there are some."""
        if isinstance(data, MadeData):
            return data.evaluate(model, part)
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

    def describe(self, data: Data) -> dict[str, Any]:
        if isinstance(data, MadeData):
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

    def cut(self, data: Data, share: float) -> Data:
        """The first problems of the training part; validation and test stay whole (of made sequences they are cut)."""
        if isinstance(data, MadeData):
            return data.cut(share)
        keep = max(8, round(len(data.train) * share))
        train = data.train
        cut = replace(train, lengths=train.lengths[:keep], prompts=train.prompts[:keep], answers=train.answers[:keep])
        return replace(data, train=cut)

    def requests(self, model: Model, data: Data) -> tuple[Callable[[Any], Any], list[Any]]:
        """Solving one problem, or labelling one sequence."""
        if isinstance(data, MadeData):
            assert isinstance(model, MadeModel)
            return model.answer, list(data.part("test").given[:64].split(1))
        assert isinstance(model, SolveModel)
        prompts = [row[row >= algorithms.FIRST].tolist() for given in data.test for row in given.prompts[:4]]
        return lambda ids: model.solve([[model.names[i] for i in ids]]), prompts
