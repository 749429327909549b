"""tfidf-logistic: a linear model on weighted counts of words and pairs of words, with scikit-learn.

Spärck Jones 1972, https://doi.org/10.1108/eb026526, for the weights. The regularisation is
chosen on the validation part.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from twofold import progress
from twofold.catalog import Budget, baseline
from twofold.checkpoints import tensors
from twofold.checkpoints.folder import Saved
from twofold.errors import UserError
from twofold.tasks import Fitted, ModelSystem
from twofold.tasks.classify import ClassifyData, ClassifyModel, ManyLabels, Number, OneLabel
from twofold.tasks.classify.data import Inputs

_TERMS, _WEIGHTS = "terms.json", "linear.safetensors"
_STRENGTHS = (1.0, 10.0, 100.0)


class LinearWordsModel(ClassifyModel):
    """No network: `terms` with their inverse document frequencies, and a matrix over them."""

    terms: list[str]
    idf: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def logits(self, inputs: Inputs) -> np.ndarray:
        for number, text in enumerate(inputs):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"text {number + 1} is empty or no text; leave it out")
        counts = self._vectorizer().transform(inputs)
        return np.asarray(counts @ self.weight.T + self.bias, np.float32)

    @property
    def parameters(self) -> int:
        return self.weight.size + self.bias.size

    def _vectorizer(self) -> Any:
        if not hasattr(self, "_ready"):
            self._ready = vectorizer(int(self.spec["input"]["words"]), {term: i for i, term in enumerate(self.terms)})
            self._ready.idf_ = self.idf
        return self._ready

    def _files(self, target: Path) -> None:
        (target / _TERMS).write_text(json.dumps(self.terms, ensure_ascii=False), encoding="utf-8")
        arrays = {"idf": self.idf, "weight": self.weight, "bias": self.bias}
        tensors.save(target / _WEIGHTS, {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()})

    @classmethod
    def restore(cls, saved: Saved) -> LinearWordsModel:
        model = super().restore(saved)
        try:
            model.terms = [str(term) for term in json.loads((saved.path / _TERMS).read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{saved.path / _TERMS} is damaged ({error}); copy the model again") from None
        found = {name: tensor.numpy() for name, tensor in tensors.load(saved.path / _WEIGHTS).items()}
        shapes = {"idf": (len(model.terms),), "weight": (model.target.outputs, len(model.terms))}
        shapes["bias"] = (model.target.outputs,)
        if {name: array.shape for name, array in found.items()} != shapes:
            raise UserError(f"{saved.path / _WEIGHTS} does not belong to its terms and labels; copy the model again")
        model.idf, model.weight, model.bias = found["idf"], found["weight"], found["bias"]
        return model


def vectorizer(words: int, vocabulary: dict[str, int] | None = None) -> Any:
    """Counts of runs of up to `words` words, `1 + log` of each, times inverse document frequency, unit length."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, words), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", vocabulary=vocabulary, dtype=np.float32
    )


@baseline(
    "tfidf-logistic",
    title="TF-IDF and logistic regression",
    tasks=("classify",),
    source="https://doi.org/10.1108/eb026526",
    needs=("classify texts fast, without a network", "bag of words", "linear text classifier"),
)
class TfidfLogistic(ModelSystem):
    """Logistic regression (numbers: ridge regression) on TF-IDF weights of words and pairs of words."""

    words: int = Field(2, ge=1, le=4, description="longest run of words that is counted")

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
        spec = {"target": data.target.spec(), "input": {"kind": "text", "words": self.words}}
        model = LinearWordsModel(None, None, spec)
        texts, values = data.part("train")
        counter = vectorizer(self.words)
        try:
            counts = counter.fit_transform(texts)
        except ValueError:
            raise UserError(f"{data.name}: the training texts hold no words to count") from None
        model.terms, model.idf = counter.get_feature_names_out().tolist(), counter.idf_
        best, chosen = -np.inf, _STRENGTHS[0]
        kept: tuple[np.ndarray, np.ndarray] | None = None
        judged, truth = data.part("validation")
        with progress.stage("regularisation", total=len(_STRENGTHS)) as stage:
            for strength in _STRENGTHS:
                model.weight, model.bias = _fitted(data.target, counts, values, strength)
                figure = data.target.judge(model.probabilities(judged), truth).figures[data.target.metric]
                if figure > best:
                    best, chosen, kept = figure, strength, (model.weight, model.bias)
                stage.advance(note=f"{strength:g}")
        assert kept is not None
        model.weight, model.bias = kept
        return Fitted(model.remember(self.id, self.options(), {"strength": chosen, "terms": len(model.terms)}))

    @staticmethod
    def restore(saved: Saved) -> LinearWordsModel:
        """The model of a folder that was read."""
        return LinearWordsModel.restore(saved)


def _fitted(target: Any, counts: Any, values: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix `[outputs, terms]` and the bias `[outputs]`, float32."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if isinstance(target, Number):
        scaled = (values - target.center) / target.spread
        ridge = Ridge(alpha=10 / strength, solver="lsqr").fit(counts, scaled)
        return np.asarray(ridge.coef_, np.float32)[None], np.array([ridge.intercept_], np.float32)
    if isinstance(target, ManyLabels):
        pairs = [_fitted_label(counts, column, strength) for column in values.T]
        return np.stack([w for w, _ in pairs]), np.concatenate([b for _, b in pairs])
    assert isinstance(target, OneLabel)
    weights = dict(enumerate(target.weights)) if target.weights else None
    found = LogisticRegression(C=strength, max_iter=400, class_weight=weights).fit(counts, values)
    weight, bias = np.asarray(found.coef_, np.float32), np.asarray(found.intercept_, np.float32)
    if len(weight) == 1:  # two classes: the first one's logit is 0
        return np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return weight, bias


def _fitted_label(counts: Any, there: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.linear_model import LogisticRegression

    if there.all() or not there.any():
        return np.zeros(counts.shape[1], np.float32), np.array([20.0 if there.all() else -20.0], np.float32)
    found = LogisticRegression(C=strength, max_iter=400).fit(counts, there)
    return np.asarray(found.coef_[0], np.float32), np.asarray(found.intercept_, np.float32)
