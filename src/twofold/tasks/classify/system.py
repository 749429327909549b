"""Systems that learn to classify. A system adds its network's head, its batches and its loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import computing
from twofold.catalog import Budget
from twofold.data.batches import Order, TokenOrder
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import (
    Headed,
    Mean,
    Part,
    PatchEncoder,
    Pattern,
    PixelPerceptron,
    SequenceHead,
    SequenceModel,
    TextClassifier,
    Tower,
)
from twofold.parts.pixels import patches
from twofold.tasks import backbones
from twofold.tasks.classify.data import ClassifyData
from twofold.tasks.classify.model import ClassifyModel, settings
from twofold.tasks.classify.readers import ImageReader, TextReader
from twofold.tasks.classify.targets import Target
from twofold.tasks.inputs import Inputs, freeze, store
from twofold.tasks.model import Model
from twofold.tasks.options import Backbone
from twofold.tasks.system import Fitted, TrainedSystem
from twofold.training import Recipe


@dataclass(frozen=True)
class PixelInputs:
    """Images `[B, height, width, channels]`, between 0 and 1; the whole network runs."""

    pixels: Tensor

    @property
    def tokens(self) -> int:
        return len(self.pixels)

    def rows(self, index: Tensor) -> PixelInputs:
        """Those images alone."""
        return PixelInputs(self.pixels[index])

    def to(self, device: torch.device) -> PixelInputs:
        """The same on another device."""
        return PixelInputs(self.pixels.to(device))

    def embed(self, net: Part) -> Tensor:
        """What the network makes of them."""
        out: Tensor = net(self.pixels)
        return out


class PixelStore:
    """Images kept as bytes, handed out as numbers."""

    def __init__(self, reader: ImageReader, images: np.ndarray) -> None:
        self.reader, self.images = reader, images

    def take(self, indices: Sequence[int] | np.ndarray) -> PixelInputs:
        """Those images, in that order."""
        return PixelInputs(self.reader.tensor(self.images[np.asarray(indices)]))


@dataclass(frozen=True)
class LabelledBatch:
    """Inputs with what is true of them, `[B]` or `[B, labels]` as the target has it."""

    inputs: Inputs | PixelInputs
    values: Tensor
    target: Target

    @property
    def tokens(self) -> int:
        return self.inputs.tokens

    def shard(self, rank: int, world: int) -> LabelledBatch:
        """One process's share."""
        mine = torch.arange(len(self.values)).tensor_split(world)[rank]
        return LabelledBatch(self.inputs.rows(mine), self.values[mine], self.target)

    def to(self, device: torch.device) -> LabelledBatch:
        """The same on another device."""
        return LabelledBatch(self.inputs.to(device), self.values.to(device), self.target)


class LabelledBatches:
    """Batches of the training part, epoch after epoch.

    Args:
        inputs: a store of the training inputs, in the order of the part (`take(indices)`).
        size: items in a batch.
        like: put inputs of like lengths together, which saves padding; the store tells their lengths.
    """

    def __init__(self, inputs: Any, data: ClassifyData, size: int, seed: int, like: bool = False) -> None:
        values = data.values[data.indices("train")]
        self.inputs, self.target = inputs, data.target
        self.values = torch.from_numpy(values)
        self.order: Callable[[int], np.ndarray] = Order(len(values), min(size, len(values)), seed)
        if like:
            self.order = TokenOrder(inputs.lengths, size * int(max(inputs.lengths)) + size * 8, seed, most=size)

    def __call__(self, step: int, progress: float) -> LabelledBatch:
        chosen = self.order(step)
        return LabelledBatch(self.inputs.take(chosen), self.values[torch.from_numpy(chosen)], self.target)


LONGEST = 8192
"""Tokens of the longest text that is classified as it is."""


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ClassifySystem(TrainedSystem):
    """What every classifier of texts is told: its backbone, how long texts may be, and how it is trained."""

    backbone: Backbone = Field(
        "minilm", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    tune_layers: int = Field(2, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    tokens: int = Field(64, ge=2, le=LONGEST, description="texts are cut here")
    batch: int = Field(32, ge=1, description="examples in a batch")
    lr: float = Field(3e-4, gt=0, description="highest learning rate")
    examples: int | None = Field(
        None, ge=1, description="learn from so many examples, drawn by the seed; none: from all"
    )

    def fit(
        self,
        data: ClassifyData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        data = data if self.examples is None else data.few(self.examples, seed)
        return super().fit(data, budget, seed=seed, folder=folder, until=until)

    def check(self) -> None:
        backbones.check(self.backbone, self.tokens, self.batch * self.tokens)

    def head(self, backbone: SequenceModel, outputs: int) -> Tower:
        """The classifier around a backbone: here the mean of the states and a linear map."""
        return TextClassifier(backbone, Mean(), SequenceHead(backbone.dim, outputs))

    def start(self, data: ClassifyData, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        texts = data.part("train")[0]
        batch_tokens = self.batch * self.tokens
        chosen = backbones.choose(self.backbone, list(texts), seed, max_len=self.tokens, batch_tokens=batch_tokens)
        torch.manual_seed(seed)
        net = self.head(chosen.model, data.target.outputs)
        freeze(net.model, self.tune_layers if chosen.pretrained else 0, str(self.backbone))
        spec = settings(data.target, TextReader(self.tokens))
        return ClassifyModel(net, chosen.tokenizer, spec, notes=dict(chosen.notes))

    def batches(self, model: Model, data: ClassifyData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, ClassifyModel)
        return LabelledBatches(training_store(model, data), data, self.batch, seed)

    def loss(self, net: Part, batch: LabelledBatch) -> Loss:
        return batch.target.loss(batch.inputs.embed(net), batch.values)  # type: ignore[arg-type]

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, backbone="encoder-1x32", tokens=16, batch=16, lr=3e-3, examples=None)


def perceptron(data: ClassifyData, hidden: int, dim: int, seed: int) -> tuple[ImageReader, PixelPerceptron]:
    """A reader of the data's images, and a network of one hidden layer from their pixels to `dim` numbers."""
    reader = ImageReader(np.shape(data.inputs)[1:])
    torch.manual_seed(seed)
    return reader, PixelPerceptron(int(np.prod(reader.shape)), hidden, dim)


def patch_classifier(data: ClassifyData, pattern: Pattern, patch: int, seed: int) -> ClassifyModel:
    """A classifier of images that are read as patches, by a stack of any pattern."""
    reader = ImageReader(np.shape(data.inputs)[1:])
    torch.manual_seed(seed)
    count = math.prod(patches(reader.shape, patch))
    encoder = PatchEncoder(pattern.stack(causal=False, max_len=count), reader.shape, patch, pattern.dim)
    net = Headed(encoder, SequenceHead(pattern.dim, data.target.outputs))
    return ClassifyModel(net, None, settings(data.target, reader))


def training_store(model: ClassifyModel, data: ClassifyData) -> Any:
    """The training inputs, ready to be handed out: ids, states behind frozen layers, or pixels."""
    inputs, reader = data.part("train")[0], model.reader
    if isinstance(reader, ImageReader):
        assert isinstance(inputs, np.ndarray)
        return PixelStore(reader, inputs)
    assert isinstance(reader, TextReader)
    assert isinstance(model.net, Tower)
    assert model.tokenizer is not None
    return store(model.net, reader.encode(model.tokenizer, list(inputs)), model.tokenizer.pad or 0)
