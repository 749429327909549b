"""DIMCO: codes of a few symbols that tell as much of the label as they can, and say nothing twice.

Lee et al. 2022, "Discrete Infomax Codes for Supervised Representation Learning", https://arxiv.org/abs/1905.11656
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Budget, Claim, Steps, system
from twofold.data.batches import ClassOrder
from twofold.errors import UserError
from twofold.objectives import Loss, informative_codes
from twofold.parts import CodeEncoder, CodeHead, Headed, Mean, Part, SequenceModel, TextClassifier
from twofold.tasks import Fitted, Model
from twofold.tasks.classify import ClassifyData, ClassifyModel, ClassifySystem, LabelledBatch, LabelledBatches, OneLabel
from twofold.tasks.classify import settings as classify_settings
from twofold.tasks.classify.codes import class_codes, code_chances, nearest_codes
from twofold.tasks.classify.system import perceptron, training_store
from twofold.tasks.search import PairBatch, SearchData, SearchSystem


@system(
    "dimco",
    number=103,
    title="Discrete Infomax Codes for Supervised Representation Learning",
    tasks=("search", "classify"),
    source="https://arxiv.org/abs/1905.11656",
    year=2022,
    needs=(
        "an index of a few bytes a document",
        "short discrete codes in place of embeddings",
        "learn from few labelled examples a class",
        "hashing, quantised search",
        "find images of the same class by codes",
    ),
    simplified=(
        "the redundancy is the sum over pairs of symbols, of probabilities averaged over the batch",
        "images are read by one hidden layer on their pixels, in place of a convolutional network",
        "search: a query and its documents are the examples of a class",
    ),
)
class Dimco(SearchSystem):
    """Codes with the largest mutual information with the label: documents and classes in a few bits.

    Search: a query gives each symbol a probability, and a document's code is looked up in that table. Classify: an item
    is compared with each class's distribution of symbols, or with the codes of known items.
    """

    by_name: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("text", "image")

    lr: float = Field(3e-3, gt=0, description="highest learning rate")
    length: int = Field(16, ge=1, le=256, description="symbols of a code (the paper's d)")
    size: int = Field(16, ge=2, le=4096, description="of the alphabet (the paper's k); a symbol takes log2 of it bits")
    redundancy: float = Field(1.0, ge=0, description="weight of what symbols say twice")
    answer: Literal["classes", "neighbours"] = Field(
        "classes", description="classify: by each class's mean distribution of symbols, or by the likest known item"
    )
    distance: Literal["asymmetric", "hamming"] = Field(
        "asymmetric", description="neighbours: look codes up in the asked item's probabilities, or count equal symbols"
    )
    each: int = Field(8, ge=2, description="classify: items of a class in a batch")
    examples: int | None = Field(
        None, ge=1, description="classify: learn from so many examples, drawn by the seed; none: from all"
    )
    hidden: int = Field(256, ge=1, description="classify images: width of the hidden layer")
    dim: int = Field(64, ge=1, description="classify images: width of the vectors that codes are read from")

    def head(self, backbone: SequenceModel) -> CodeEncoder:
        return CodeEncoder(backbone, Mean(), self.symbols(backbone.dim))

    def symbols(self, dim: int) -> CodeHead:
        """What reads a code from a vector."""
        return CodeHead(dim, self.length, self.size)

    def start(self, data: SearchData | ClassifyData, seed: int) -> Model:
        if isinstance(data, SearchData):
            return super().start(data, seed)
        if not isinstance(data.target, OneLabel):
            raise UserError(
                f"dimco learns from one class an item, and {data.name} has something else; use gtr or others"
            )
        if data.modality == "image":
            reader, encoder = perceptron(data, self.hidden, self.dim, seed)
            net = Headed(encoder, self.symbols(self.dim))
            return ClassifyModel(net, None, classify_settings(data.target, reader))
        model = self.classifier().start(data, seed)
        assert isinstance(model.net, TextClassifier)
        model.net.head = self.symbols(model.net.model.dim)
        return model

    def classifier(self) -> ClassifySystem:
        """A plain classifier of texts with the same options: what it starts from."""
        return ClassifySystem(
            backbone=self.backbone,
            tune_layers=self.tune_layers,
            tokens=self.document_tokens,
            batch=self.batch,
            lr=self.lr,
            examples=None,
        )

    def batches(self, model: Model, data: SearchData | ClassifyData, seed: int) -> Callable[[int, float], Any]:
        if isinstance(data, SearchData):
            return super().batches(model, data, seed)
        assert isinstance(model, ClassifyModel)
        made = LabelledBatches(training_store(model, data), data, self.batch, seed)
        made.order = ClassOrder(made.values, max(self.batch, 2 * self.each), self.each, seed)
        return made

    def loss(self, net: Part, batch: PairBatch | LabelledBatch) -> Loss:
        """What symbols tell of the class, less what they say twice. Of pairs, the document is the class."""
        if isinstance(batch, LabelledBatch):
            return informative_codes(batch.inputs.embed(net), batch.values, self.redundancy)  # type: ignore[arg-type]
        assert isinstance(net, CodeEncoder)
        chances = torch.cat([batch.queries.embed(net), batch.documents.embed(net)])
        labels = torch.cat([batch.document_ids[: len(batch.query_ids)], batch.document_ids])
        return informative_codes(chances, labels, self.redundancy)

    def fit(
        self,
        data: Any,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        if isinstance(data, ClassifyData) and self.examples is not None:
            data = data.few(self.examples, seed)
        fitted = super().fit(data, budget, seed=seed, folder=folder, until=until)
        if isinstance(fitted.model, ClassifyModel):
            inputs, values = data.part("train")
            head: Any = fitted.model.net.head
            chances = code_chances(fitted.model, head, inputs)
            fitted.model.net.head = Headed(head, self.reader(chances, values, data.target))
        return fitted

    def reader(self, chances: Tensor, values: np.ndarray, target: OneLabel) -> Part:
        """What answers from a code, knowing the training part's."""
        if self.answer == "classes":
            return class_codes(chances, values, target)
        return nearest_codes(chances, values, target, hamming=self.distance == "hamming")

    def small(self) -> Self:
        small: Any = super().small()
        return cast(Self, replace(small, length=4, size=4, hidden=16, dim=16, examples=None, batch=16, each=4))

    claim: ClassVar[Claim] = Claim(
        says="codes of 16 bits that were trained to tell of the class find more images of it than the signs of a "
        "classifier's vectors of 16 numbers, from 40 images a class",
        paper="as accurate as embeddings of many times the bits, by most where training data are few",
        arms=(
            Arm("pixel-mlp", dim=16, answer="neighbours", examples=400, batch=80),
            Arm("dimco", length=4, size=16, answer="neighbours", examples=400, batch=80),
        ),
        data="digits",
        metric="map",
        by=0.03,
        budget=Steps(400),
        repeats=5,
        task="classify",
        setting={"gallery": True},
        side=(
            Arm("pixel-mlp", dim=16, answer="neighbours", examples=400, batch=80, distance="cosine"),
            Arm("dimco", length=16, size=2, answer="neighbours", examples=400, batch=80),
            Arm("dimco", length=16, size=16, answer="neighbours", examples=400, batch=80),
        ),
        tune={"lr": (1e-3, 3e-3, 1e-2), "distance": ("asymmetric", "hamming")},
        minutes=1,
    )
