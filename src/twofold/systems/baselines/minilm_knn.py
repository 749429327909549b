"""minilm-knn: the nearest training texts decide, by the pretrained MiniLM's vectors; nothing is trained.

Wang et al. 2020, "MiniLM", https://arxiv.org/abs/2002.10957.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from twofold.catalog import Budget, baseline
from twofold.errors import UserError
from twofold.parts import Mean, Neighbours, TextClassifier
from twofold.tasks import Fitted, ModelSystem, load
from twofold.tasks.classify import ClassifyData, ClassifyModel, TextReader, settings
from twofold.tasks.classify.knowing import neighbours
from twofold.tasks.search import EncoderModel

_COUNTS = (1, 5, 15, 50)


@baseline(
    "minilm-knn",
    title="all-MiniLM-L6-v2 and nearest neighbours",
    tasks=("classify",),
    source="https://arxiv.org/abs/2002.10957",
    needs=("classify texts without training", "few examples a class", "label new texts by similar ones"),
)
class MiniLmKnn(ModelSystem):
    """The nearest training texts vote, by cosine of MiniLM's vectors; how many is chosen on the validation part."""

    tokens: int = Field(64, ge=2, le=512, description="texts are cut here")

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
        encoder = load("minilm")
        assert isinstance(encoder, EncoderModel)
        encoder.spec["document_tokens"] = self.tokens
        texts, values = data.part("train")
        vectors: Any = encoder.encode(list(texts)).values
        judged, truth = data.part("validation")
        asked: Any = encoder.encode(list(judged)).values
        best: tuple[float, Neighbours] | None = None
        for k in _COUNTS:
            head = neighbours(vectors, values, data.target, k)
            decoded = data.target.decode(head(asked).numpy())
            figure = data.target.judge(decoded, truth).figures[data.target.metric]
            if best is None or figure > best[0]:
                best = figure, head
        assert best is not None
        net = TextClassifier(encoder.net.tower("document").model, Mean(), best[1])
        model = ClassifyModel(net.eval(), encoder.tokenizer, settings(data.target, TextReader(self.tokens)))
        model.notes = dict(encoder.notes)
        return Fitted(model.remember(self.id, self.options(), {"neighbours": best[1].k}))
