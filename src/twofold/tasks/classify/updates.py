"""Classifiers that are updated while their old features stay in use, and how compatible the updates are."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import computing, progress
from twofold.catalog import Steps
from twofold.data import read
from twofold.data.batches import Order
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.compatibility import average_accuracy, average_compatibility, matrix
from twofold.objectives import Loss, classification
from twofold.parts import Directions, Headed, Part, PixelPerceptron, SequenceHead
from twofold.tasks.classify.data import ClassifyData, from_rows
from twofold.tasks.classify.model import ClassifyModel, settings
from twofold.tasks.classify.readers import ImageReader
from twofold.tasks.classify.system import LabelledBatch, LabelledBatches, PixelInputs, perceptron, training_store
from twofold.tasks.classify.targets import OneLabel
from twofold.tasks.model import Model
from twofold.tasks.registry import load
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.system import Analysis, Change, HeatMap, Report, Table, TrainedSystem
from twofold.training import Recipe, train


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class UpdatedClassifier(TrainedSystem, Change, Analysis):
    """A classifier of images with directions for classes that are still to come.

    `apply` updates a model that it made: with new rows, classes or a larger network. `run` measures two models on a
    person's rows (`new`), or, without, a stream of updates.
    """

    reads: ClassVar[tuple[str, ...]] = ("image",)
    by_name: ClassVar[bool] = True

    classes: int = Field(
        64, ge=2, description="directions, more than the classes that there are; features have one less"
    )
    hidden: int = Field(64, ge=1, description="width of the hidden layer; when a model is updated, of the new one")
    batch: int = Field(64, ge=2, description="images in a batch")
    lr: float = Field(3e-3, gt=0, description="highest learning rate")
    steps: int = Field(100, ge=1, description="of an update")
    new: str | None = Field(
        None, description="study: a second model, to be compared with the first; its folder or name"
    )
    tasks: int = Field(5, ge=2, description="study: updates of the stream, each with new classes")
    replay: int = Field(20, ge=0, description="study: images of each old class that are seen again")
    replaced: tuple[int, ...] = Field(
        (2, 4), description="study: after these tasks a wider, pretrained network comes in"
    )

    @abstractmethod
    def directions(self, used: int) -> Directions:
        """The classifier, for `used` classes so far."""

    @abstractmethod
    def objective(self, net: Headed, old: Part | None, batch: LabelledBatch) -> Loss:
        """The loss of an update; `old` is the encoder of the model before, if there is one."""

    def classified(self, net: Headed, features: Tensor, labels: Tensor) -> Loss:
        """Cross-entropy over all directions, those that no class has yet included."""
        assert isinstance(net.head, Directions)
        return classification.classes(net.head.every(features), labels)

    def start(self, data: ClassifyData, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        if not isinstance(data.target, OneLabel):
            raise UserError(f"{self.id} learns from one class an image, and {data.name} has something else")
        reader, encoder = perceptron(data, self.hidden, self.classes - 1, seed)
        net = Headed(encoder, self.directions(data.target.outputs))
        return ClassifyModel(net, None, settings(data.target, reader))

    def batches(self, model: Model, data: ClassifyData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, ClassifyModel)
        return LabelledBatches(training_store(model, data), data, self.batch, seed)

    def loss(self, net: Part, batch: LabelledBatch) -> Loss:
        assert isinstance(net, Headed)
        return self.objective(net, None, batch)

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, hidden=16, batch=16, steps=3, tasks=2, replaced=(1,), new=None)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """An updated copy: trained on `rows`, whose classes may be new, and compatible with the model's gallery.

        Args:
            model: that this system made.
            rows: `image` and `label`; images of old classes too, or they are forgotten.

        Raises:
            UserError: another model, or more classes than directions.
        """
        net: Any = model.net
        if not isinstance(model, ClassifyModel) or not isinstance(getattr(net, "head", None), Directions):
            raise UserError(f"{self.id} updates classifiers that it made, not {model.name}")
        if net.head.classes != self.classes:
            raise UserError(
                f"{self.id}: the model has {net.head.classes} directions and classes={self.classes}; they must agree"
            )
        data = from_rows(rows)
        assert isinstance(data.target, OneLabel)
        names = (*model.labels, *(name for name in data.target.labels if name not in model.labels))
        images, values = data.part("train")
        labels = np.array([names.index(data.target.labels[v]) for v in values])
        reader = model.reader
        assert isinstance(reader, ImageReader)
        old = copy.deepcopy(net.encoder).eval().requires_grad_(False)
        torch.manual_seed(seed)
        same = old.up.outputs == self.hidden
        encoder = copy.deepcopy(net.encoder) if same else PixelPerceptron(old.up.inputs, self.hidden, self.classes - 1)
        new = Headed(encoder, self.directions(len(names)))
        new.head.load_state_dict(net.head.state_dict())
        self.update(new, old, reader.tensor(images), torch.from_numpy(labels), seed)
        changed = ClassifyModel(new.eval(), None, settings(OneLabel(names), reader), model.history, model.notes)
        return changed.remember(self.id, self.options(), {"classes": len(names), "steps": self.steps})

    def update(self, net: Headed, old: Part | None, images: Tensor, labels: Tensor, seed: int) -> None:
        """Trains `net` on images with their classes."""
        target = OneLabel(tuple(str(c) for c in range(self.classes)))
        order = Order(len(labels), min(self.batch, len(labels)), seed)

        def batch(step: int, progress: float) -> LabelledBatch:
            chosen = torch.from_numpy(order(step))
            return LabelledBatch(PixelInputs(images[chosen]), labels[chosen], target)

        train(net, lambda net, some: self.objective(net, old, some), batch, Steps(self.steps), self.recipe(), seed=seed)  # type: ignore[arg-type]

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """How well newer models find what is in older galleries.

        Args:
            model: the older of two, with `new`; none: a stream of updates is trained.
            rows: labelled; queries are the test part and the gallery is the training part. None: digits.

        Raises:
            UserError: one model without the other, or features of unequal widths.
        """
        data = from_rows(read("digits") if rows is None else rows)
        if not isinstance(data.target, OneLabel):
            raise UserError(f"{data.name}: the study needs one class an item, in a column 'label'")
        if (model is None) != (self.new is None):
            raise UserError("a comparison takes two models: the older one, and the newer one as --set new=FOLDER")
        if model is not None and self.new is not None:
            models = (model, load(self.new))
            features = [(_features(m, data, "test"), _features(m, data, "train")) for m in models]
            widths = [f[0].shape[1] for f in features]
            if len(set(widths)) > 1:
                raise UserError(
                    f"{model.name} makes {widths[0]} features and {self.new} {widths[1]}; they must be equal"
                )
        else:
            features = self.stream(data, seed)
        asked, known = data.part("test")[1], data.part("train")[1]
        found = matrix([q for q, _ in features], [g for _, g in features], asked, known)
        return _report(found)

    def stream(self, data: ClassifyData, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Features of test and training images by the model of each task. Classes come in, and networks are replaced.

        Every gallery holds all classes, also those that its model never learned: among the few that it knows, hardly
        any image is mistaken, so that no newer model could do better.
        """
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        assert isinstance(data.target, OneLabel)
        count = data.target.outputs
        if count < self.tasks:
            raise UserError(f"{data.name} has {count} classes for {self.tasks} tasks; set tasks={count} or fewer")
        images, values = data.part("train")
        random = np.random.default_rng(seed)
        groups = np.array_split(random.permutation(count), self.tasks)
        place = {int(c): n for n, c in enumerate(np.concatenate(groups))}  # directions are given as classes come
        reader, encoder = perceptron(data, self.hidden, self.classes - 1, seed)
        pixels, asked = reader.tensor(images), reader.tensor(data.part("test")[0])
        labels = torch.tensor([place[int(v)] for v in values])
        head = self.directions(count)
        old: Part | None = None
        kept: list[np.ndarray] = []
        found: list[tuple[np.ndarray, np.ndarray]] = []
        with progress.stage("updates", total=self.tasks) as stage:
            for number, group in enumerate(groups, 1):
                if number - 1 in self.replaced:
                    encoder = self.pretrained(pixels, self.hidden * 2 ** (1 + self.replaced.index(number - 1)), seed)
                here = np.flatnonzero(np.isin(values, group))
                chosen = torch.from_numpy(np.concatenate([here, *kept]))
                net = Headed(encoder, head).train()
                self.update(net, old, pixels[chosen], labels[chosen], seed + number)
                old = copy.deepcopy(net.encoder).eval().requires_grad_(False)
                with computing.inference():
                    found.append((old(asked).float().numpy(), old(pixels).float().numpy()))
                kept += [random.permutation(np.flatnonzero(values == c))[: self.replay] for c in group]
                stage.advance()
        return found

    def pretrained(self, pixels: Tensor, hidden: int, seed: int) -> PixelPerceptron:
        """A wider network that has learnt, without any class, by how much turned and shifted images were turned."""
        torch.manual_seed(seed + hidden)
        shape = pixels.shape[1:]
        encoder = PixelPerceptron(int(np.prod(shape)), hidden, self.classes - 1)
        net = Headed(encoder, SequenceHead(self.classes - 1, 4))
        order = Order(len(pixels), min(self.batch, len(pixels)), seed)
        target = OneLabel(("0", "90", "180", "270"))

        def batch(step: int, progress: float) -> LabelledBatch:
            random = np.random.default_rng((seed, step))
            chosen = pixels[torch.from_numpy(order(step))]
            turned = torch.from_numpy(random.integers(0, 4, len(chosen)))
            shifts = tuple(int(s) for s in random.integers(-1, 2, 2))
            views = torch.stack([torch.rot90(chosen, k, (1, 2)) for k in range(4)])[turned, torch.arange(len(chosen))]
            return LabelledBatch(PixelInputs(views.roll(shifts, (1, 2))), turned, target)

        def told(net: Part, some: LabelledBatch) -> Loss:
            return some.target.loss(some.inputs.embed(net), some.values)  # type: ignore[arg-type]

        train(net, told, batch, Steps(self.steps), self.recipe(), seed=seed)  # type: ignore[arg-type]
        return encoder


def _features(model: Model, data: ClassifyData, part: str) -> np.ndarray:
    inputs = data.part(part)[0]
    if isinstance(model, ClassifyModel):
        return model.embed(inputs)
    if not isinstance(model, EncoderModel) or data.modality != "text":
        raise UserError(f"{model.name} makes no features of {data.modality}s; give models that encode them")
    values: Any = model.encode(list(inputs)).values
    found: np.ndarray = values.numpy()
    return found


def _report(found: np.ndarray) -> Report:
    names = tuple(str(n) for n in range(1, len(found) + 1))
    cells = tuple(tuple(None if j > i else float(v) for j, v in enumerate(row)) for i, row in enumerate(found))
    figures = {
        "compatibility": average_compatibility(found),
        "mean_accuracy": average_accuracy(found),
        "last_accuracy": float(found[-1, -1]),
    }
    rows: Sequence[tuple[Any, ...]] = [(name, *row) for name, row in zip(names, cells, strict=True)]
    text = (
        f"Newer models do better on an older gallery than the older model in {figures['compatibility']:.0%} of the "
        f"pairs; accuracy over all pairs is {figures['mean_accuracy']:.1%}."
    )
    return Report(
        figures,
        (Table("Accuracy of a model's queries (rows) in a model's gallery (columns)", ("model", *names), tuple(rows)),),
        (HeatMap("Accuracy", "gallery", "queries", names, names, cells),),
        text,
    )
