"""Matryoshka representations that classify: heads on every prefix, and three ways to answer from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from twofold.decoding.cascade import thresholds
from twofold.errors import UserError
from twofold.objectives import Loss, nested
from twofold.parts import Cascade, Headed, NestedHeads, Part, Prefix, PrefixHead, halvings, rising
from twofold.tasks.classify import ClassifyData, ClassifyModel, ClassifySystem, OneLabel, settings
from twofold.tasks.classify.knowing import neighbours
from twofold.tasks.classify.system import LabelledBatch, LabelledBatches, perceptron, training_store

if TYPE_CHECKING:
    from twofold.systems.retrieval.matryoshka import Matryoshka

Answer = tuple[Part, dict[str, Any]]

RATES: Mapping[str, float] = {"text": 1e-3, "image": 5e-3}
"""Highest learning rates by modality, where none is given."""


def trainer(given: Matryoshka) -> ClassifySystem:
    """A plain classifier of texts with the same options: what it starts from, and its batches."""
    return ClassifySystem(
        lr=given.lr or RATES["text"],
        examples=None,
        backbone=given.backbone,
        tune_layers=given.tune_layers,
        tokens=given.document_tokens,
        batch=given.batch,
    )


def start(given: Matryoshka, data: ClassifyData, seed: int) -> ClassifyModel:
    """An encoder of the data's inputs, with a head that reads all of the widths."""
    if given.answer == "cascade" and not isinstance(data.target, OneLabel):
        raise UserError("matryoshka: a cascade needs one class an item; set answer=head")
    outputs = data.target.outputs
    if data.modality == "image":
        reader, encoder = perceptron(data, given.hidden, given.dim, seed)
        head, trained = _heads(given, given.dim, outputs)
        model = ClassifyModel(Headed(encoder, head), None, settings(data.target, reader))
    else:
        model = trainer(given).start(data, seed)  # type: ignore[assignment]
        net: Any = model.net
        net.head, trained = _heads(given, net.model.dim, outputs)
    model.spec["widths"] = list(trained)
    return model


def _heads(given: Matryoshka, whole: int, outputs: int) -> tuple[Part, tuple[int, ...]]:
    """What reads every width, and the widths."""
    trained = rising(given.widths or halvings(whole), whole)
    least, most = (1, whole) if given.answer == "neighbours" else (trained[0], trained[-1])
    if given.width is not None and not least <= given.width <= most:
        raise UserError(f"matryoshka: no head reads width={given.width}; use {least} to {most}")
    return PrefixHead(trained[-1], outputs) if given.shared_head else NestedHeads(trained, outputs), trained


def batches(given: Matryoshka, model: Any, data: ClassifyData, seed: int) -> LabelledBatches:
    """Batches of the training part; texts of like lengths go together."""
    return LabelledBatches(training_store(model, data), data, given.batch, seed, like=data.modality == "text")


def loss(given: Matryoshka, net: Any, batch: LabelledBatch) -> Loss:
    """Equation 1: the classification loss of each prefix with its own matrix, or its share of one."""
    encoder = net.encoder
    vectors = batch.inputs.embed(encoder)

    def at_one_width(cut: torch.Tensor) -> Loss:
        return batch.target.loss(net.head(cut), batch.values)

    widths = given.widths or halvings(vectors.shape[-1])
    return nested(at_one_width, widths, given.weights, normalise=False)(vectors)


def finish(given: Matryoshka, model: ClassifyModel, data: ClassifyData) -> dict[str, Any]:
    """Puts in place what answers; its figures for the model's history."""
    net: Any = model.net
    widths = [w for w in model.spec["widths"] if w <= (given.width or w)]
    net.head, report = ANSWERS[given.answer](given, model, data, widths)
    return report


def _head(given: Matryoshka, model: ClassifyModel, data: ClassifyData, widths: list[int]) -> Answer:
    """The head at `width`."""
    head: Any = model.net.head
    return Headed(Prefix(given.width or widths[-1]), head), {}


def _cascade(given: Matryoshka, model: ClassifyModel, data: ClassifyData, widths: list[int]) -> Answer:
    """The narrowest prefix that is sure enough; thresholds from the validation part."""
    head: Any = model.net.head
    inputs, values = data.part("validation")
    vectors = torch.from_numpy(model.embed(inputs))
    with torch.no_grad():
        told = [data.target.decode(head(vectors[:, :width]).float().numpy()) for width in widths]
        cascade = Cascade(head, widths, thresholds(told, values))
        used = cascade.decide(vectors)[1].float().mean().item()
    return cascade, {"thresholds": list(cascade.thresholds), "mean_width": used}


def _neighbours(given: Matryoshka, model: ClassifyModel, data: ClassifyData, widths: list[int]) -> Answer:
    """The nearest training item by the prefix."""
    inputs, values = data.part("train")
    prefix = Prefix(given.width or widths[-1])
    vectors = prefix(torch.from_numpy(model.embed(inputs)))
    return Headed(prefix, neighbours(vectors, values, data.target, 1, given.distance)), {}


ANSWERS: Mapping[str, Callable[..., Answer]] = {
    "head": _head,
    "cascade": _cascade,
    "neighbours": _neighbours,
}
"""Ways to answer, by name: what reads the whole vector, and what is told of it."""
