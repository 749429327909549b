"""The task `language`: unseen text in bits per byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from twofold.data import read
from twofold.data.rows import Rows
from twofold.parts import set_width, widths_of
from twofold.tasks.language.data import PARTS, LanguageData
from twofold.tasks.language.model import LanguageModel
from twofold.tasks.language.speed import in_use
from twofold.tasks.model import Model
from twofold.tasks.task import Evaluation, Task

_ASKED = 4_096  # characters of a request: whole books would tell more of their length than of the model


class TextsTask(Task):
    """A task on texts that nobody labelled, split by document."""

    def read(self, source: str | Path | Rows, columns: Mapping[str, str] | None = None) -> LanguageData:
        return LanguageData.from_rows(source if isinstance(source, Rows) else read(source, columns=columns))

    def describe(self, data: LanguageData) -> dict[str, Any]:
        counts = {p: {"texts": int((data.parts == p).sum())} for p in PARTS}
        return {
            "name": data.name,
            "source": data.source,
            "fingerprint": data.fingerprint,
            "counts": counts,
            "notes": list(data.notes),
        }

    def cut(self, data: LanguageData, share: float) -> LanguageData:
        return data.cut(share)


class LanguageTask(TextsTask):
    """Bits per byte of unseen text; fewer are better."""

    name: ClassVar[str] = "language"
    metric: ClassVar[str] = "bits_per_byte"
    direction: ClassVar[str] = "lower"
    default_data: ClassVar[str] = "pydoc"
    baselines: ClassVar[tuple[str, ...]] = ("xz", "n-gram", "decoder")
    model: ClassVar[type[Model]] = LanguageModel

    def evaluate(self, model: Model, data: LanguageData, part: str = "test", **setting: Any) -> Evaluation:
        """Bits per byte over all of the part's texts, and of each.

        Args:
            setting: `stride` of the windows that long texts are read in; `texts` to score only the first so many;
                `every_width` to judge each width of an elastic model, and give the mean over them; `far`, two places:
                adds `bits_per_byte_far` of the tokens between them, read in one piece; `invert`, how many texts, tokens
                of each, and steps: adds `inversion_error`, the share of tokens that cannot be found again from states.
        """
        assert isinstance(model, LanguageModel)
        if setting.get("every_width"):
            return self._every_width(model, data, part, {k: v for k, v in setting.items() if k != "every_width"})
        texts = data.part(part)[: setting.get("texts")]
        score = model.score(texts, setting.get("stride"))
        figures = {"bits_per_byte": score.bits_per_byte, "bytes": float(score.bytes.sum())}
        if "far" in setting:
            first, last = setting["far"]
            figures["bits_per_byte_far"] = model.far(data.part(part), first, last, setting.get("texts"))
        if "invert" in setting:
            count, tokens, steps = setting["invert"]
            figures["inversion_error"] = model.inversion_error(data.part(part), count, tokens, steps)
        return Evaluation(figures, score.each, weights=score.bytes.astype(np.float64))

    def _every_width(
        self, model: LanguageModel, data: LanguageData, part: str, setting: Mapping[str, Any]
    ) -> Evaluation:
        many = min(widths_of(model.net))
        found = []
        try:
            for width in range(many):
                set_width(model.net, width)
                found.append(self.evaluate(model, data, part, **setting))
        finally:
            set_width(model.net, many - 1)
        each = {f"bits_per_byte.{width}": one.figures["bits_per_byte"] for width, one in enumerate(found)}
        mean = sum(each.values()) / many
        items = np.mean([one.items for one in found], axis=0)
        figures = {"bits_per_byte": mean, "bytes": found[0].figures["bytes"], **each}
        return Evaluation(figures, items, weights=found[0].weights)

    def in_use(self, model: Model) -> dict[str, float]:
        """Tokens a second in decoding, and bytes of the cache behind 1,024, 8,192 and 65,536 tokens."""
        assert isinstance(model, LanguageModel)
        return in_use(model)

    def requests(self, model: Model, data: LanguageData) -> tuple[Callable[[Any], Any], list[Any]]:
        """Scoring one text, of at most 4,096 characters."""
        assert isinstance(model, LanguageModel)
        return lambda text: model.score([text]), [text[:_ASKED] for text in data.part("test")]
