"""CRATE: layers that are steps of an optimiser, first compressing tokens towards subspaces, then making them sparse.

Yu, Buchanan, Pai, Chu, Wu, Tong, Bai, Zhai, Haeffele & Ma 2023, "White-Box Transformers via Sparse Rate Reduction:
Compression Is All There Is?", https://arxiv.org/abs/2311.13110
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.stats import spearmanr
from torch import Tensor

from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.data import batches, read
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.coding_rate import subspace_rate
from twofold.objectives import Loss
from twofold.parts import MSSA, Mask, Part, Pattern
from twofold.parts.trace import Tap, blocks, trace
from twofold.tasks import Analysis, Model, Plot, Report, Table
from twofold.tasks.classify import (
    ClassifyData,
    ClassifyModel,
    ClassifySystem,
    ImageReader,
    LabelledBatch,
    LabelledBatches,
    TextReader,
    from_rows,
    training_store,
)
from twofold.tasks.classify.system import patch_classifier
from twofold.tasks.language import LanguageModel
from twofold.tasks.sequences import SequenceSystem


@system(
    "crate",
    number=164,
    title="White-Box Transformers via Sparse Rate Reduction: Compression Is All There Is?",
    tasks=("language", "solve", "classify"),
    source="https://arxiv.org/abs/2311.13110",
    year=2023,
    needs=(
        "a transformer whose layers can be explained",
        "classify images or texts with fewer weights",
        "sparse activations that can be read",
        "do layers compress their tokens",
    ),
    simplified=(
        "digits of 8 x 8 pixels and text of 256 bytes in place of ImageNet and OpenWebText",
        "the mean over tokens in place of a class token",
        "the decoder of masked autoencoding and self-distillation are not offered; any masked or causal objective is",
    ),
)
class Crate(SequenceSystem, Analysis):
    """White-box transformer: each layer compresses tokens by one map per head, then takes a step of sparse coding."""

    by_name: ClassVar[bool] = True

    reads: ClassVar[tuple[str, ...]] = ("text", "image")

    step: float = Field(0.1, gt=0, description="how far a step of sparse coding goes")
    sparsity: float = Field(0.1, ge=0, description="weight of sparsity in that step")
    patch: int = Field(2, ge=1, description="classify images: side of a patch in pixels")
    study_steps: int = Field(300, ge=1, description="study without a model: training steps on digits")

    def pattern(self) -> Pattern:
        channel = {"kind": "ista", "step": self.step, "sparsity": self.sparsity}
        layer = {"mixer": "mssa", "channel": channel, "wiring": "one-skip", "times": self.layers}
        return Pattern.read(
            [layer], dim=self.dim, heads=self.heads, norm="layer", position="learned", conv=self.conv, tied=False
        )

    def start(self, data: Any, seed: int) -> Model:  # type: ignore[override]
        if not isinstance(data, ClassifyData):
            return super().start(data, seed)
        if data.modality == "image":
            return patch_classifier(data, self.pattern(), self.patch, seed)
        name = f"crate-{self.layers}x{self.dim}"
        texts = ClassifySystem(
            backbone=name, tune_layers=0, examples=None, tokens=self.length, batch=self.batch, lr=self.lr
        )
        return texts.start(data, seed)

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        if not isinstance(data, ClassifyData):
            return super().batches(model, data, seed)
        assert isinstance(model, ClassifyModel)
        return LabelledBatches(training_store(model, data), data, self.batch, seed)

    def loss(self, net: Part, batch: Any) -> Loss:
        if not isinstance(batch, LabelledBatch):
            return super().loss(net, batch)
        return batch.target.loss(batch.inputs.embed(net), batch.values)  # type: ignore[arg-type]

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """How compressed and how sparse tokens are after each layer.

        Args:
            model: any with CRATE layers; none: one is trained on the images of `rows`.
            rows: images or texts to look at (default: digits); the first 128 of the test part.
        """
        rows = read("digits") if rows is None else rows
        found: dict[str, Depths] = {}
        if model is None:
            data = from_rows(rows)
            found["at the start"] = depths(self.start(data, seed), rows)
            model = self.fit(data, Steps(self.study_steps), seed=seed).model
        found["trained"] = depths(model, rows)
        columns = tuple(f"{what} {when}" for when in found for what in ("rate", "non-zeros"))
        layers = range(len(found["trained"].rate))
        lines = tuple(
            (layer, *(value for each in found.values() for value in (each.rate[layer], each.nonzero[layer])))
            for layer in layers
        )
        figures = {
            f"{what} {when}": figure
            for when, each in found.items()
            for what, figure in (
                ("falling rate", each.trend(each.rate)),
                ("falling non-zeros", each.trend(each.nonzero)),
                ("orthogonality", each.orthogonality),
            )
        }
        plots = tuple(
            Plot(title, "layer", title, {when: tuple(enumerate(getattr(each, name))) for when, each in found.items()})
            for title, name in (("coding rate after compression", "rate"), ("share of non-zeros", "nonzero"))
        )
        text = "Falling: rank correlation with depth, turned round; 1 is falling in every layer."
        return Report(figures, (Table("By layer", ("layer", *columns), lines),), plots, text)

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2), study_steps=3)

    claim: ClassVar[Claim] = Claim(
        says="layers of one map per head and one step of sparse coding classify images as well as a vision "
        "transformer's with a quarter of its weights",
        paper="ImageNet-1K top-1 71.3 % (CRATE-L, 77.6M) against ViT's about as large; close to MAE, DINO, "
        "BERT and GPT-2",
        arms=(
            Arm("vit", dim=96, layers=6, heads=4, batch=64),
            Arm("crate", dim=96, layers=6, heads=4, batch=64),
        ),
        data="digits",
        metric="accuracy",
        by=-0.03,
        parity=True,
        saving=Saving("parameters", 0.3),
        budget=Steps(500),
        repeats=5,
        task="classify",
        side=(Arm("vit", dim=48, layers=6, heads=4, batch=64),),
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        minutes=5,
    )


@dataclass(frozen=True)
class Depths:
    """What tokens are like after each layer.

    Args:
        rate: R^c after compression, of tokens of length one, in the layer's own subspaces of unit directions, in nats.
        nonzero: share of numbers that are not zero after the step of sparse coding.
        orthogonality: mean length of the overlap between directions of a head, beside their own (0: orthogonal).
    """

    rate: tuple[float, ...]
    nonzero: tuple[float, ...]
    orthogonality: float

    @staticmethod
    def trend(values: tuple[float, ...]) -> float:
        """How steadily values fall with depth: 1 in every layer, -1: they rise."""
        return -float(spearmanr(range(len(values)), values).statistic) if len(set(values)) > 1 else 0.0


@torch.no_grad()
def depths(model: Model, rows: Rows, most: int = 128) -> Depths:
    """What the tokens of test inputs are like after each layer of a model.

    Raises:
        UserError: a layer that is no CRATE layer, or a model of another task.
    """
    every = [block for _, block in blocks(model.net)]
    if not all(isinstance(block.mixer, MSSA) for block in every):
        raise UserError("crate explains models of CRATE layers; train one: twofold fit crate")
    places = [(i, part, side) for i in range(len(every)) for part, side in _SEEN]
    with trace(model.net, [Tap(*place) for place in places]) as seen:  # type: ignore[arg-type]
        real = _pass(model, rows, most)
    rate, nonzero, overlap = [], [], []
    for i, block in enumerate(every):
        given, mixed, out = (seen[Tap(i, *place)] for place in _SEEN)  # type: ignore[arg-type]
        bases = F.normalize(block.mixer.subspaces, dim=-1)  # type: ignore[union-attr, arg-type]
        half = F.normalize(given + mixed, dim=-1)
        kept = [slice(None)] * len(half) if real is None else list(real)
        rate.append(float(np.mean([float(subspace_rate(z[k], bases)) for z, k in zip(half, kept, strict=True)])))
        chosen = out if real is None else out[real]
        nonzero.append(float((chosen != 0).float().mean()))
        products = bases @ bases.mT
        overlap.append(float((products - torch.eye(products.shape[-1])).abs().mean()))
    return Depths(tuple(rate), tuple(nonzero), float(np.mean(overlap)))


_SEEN = (("block", "in"), ("mixer", "out"), ("block", "out"))


def _pass(model: Model, rows: Rows, most: int) -> Tensor | None:
    """One pass over test inputs; which tokens are real, None where all are."""
    net = model.net.eval()
    if isinstance(model, LanguageModel):
        texts = [str(text) for text in rows.columns["text"] if str(text).strip()][:most]
        ids, real = batches.pad([[model.start, *t][: model.length] for t in model.tokens(texts)], model.text.pad or 0)
        net(ids, Mask.causal() & Mask.padding(real))
        return real
    if not isinstance(model, ClassifyModel):
        raise UserError(f"crate explains classifiers and language models, and {model.name} is for {model.task}")
    inputs, reader = from_rows(rows).part("test")[0][:most], model.reader
    if isinstance(reader, ImageReader):
        net(reader.tensor(inputs))
        return None
    assert isinstance(reader, TextReader)
    assert model.tokenizer is not None
    ids, real = batches.pad(reader.encode(model.tokenizer, list(inputs)), model.tokenizer.pad or 0)
    net(ids, real)
    return real
