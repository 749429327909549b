"""CRATE: layers that are steps of an optimiser, first compressing tokens towards subspaces, then making them sparse.

Yu, Buchanan, Pai, Chu, Wu, Tong, Bai, Zhai, Haeffele & Ma 2023, "White-Box Transformers via Sparse Rate Reduction:
Compression Is All There Is?", https://arxiv.org/abs/2311.13110
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Saving, Steps, system
from twofold.data import read
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.coding_rate import Depths, depths
from twofold.objectives import Loss
from twofold.parts import Part, Pattern
from twofold.tasks import Analysis, Model, Plot, Report, Table
from twofold.tasks.classify import (
    ClassifyData,
    ClassifyModel,
    ClassifySystem,
    LabelledBatch,
    LabelledBatches,
    from_rows,
    training_store,
)
from twofold.tasks.classify.system import LONGEST, patch_classifier
from twofold.tasks.passes import one_pass
from twofold.tasks.sequences import SequenceSystem
from twofold.tasks.system import ModelSystem, try_on_meta


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

    def serves(self, data: Any) -> str | None:
        if not isinstance(data, ClassifyData):
            return super().serves(data)
        try:
            if data.modality == "image":
                try_on_meta(lambda: patch_classifier(data, self.pattern(), self.patch, 0))
            else:
                self.texts().check()
        except UserError as error:
            return str(error)
        return ModelSystem.serves(self, data)

    def texts(self) -> ClassifySystem:
        """What classifies texts with these layers."""
        if self.length > LONGEST:
            raise UserError(f"crate classifies texts of at most {LONGEST} tokens; use length={LONGEST} or less")
        return ClassifySystem(
            backbone=f"crate-{self.layers}x{self.dim}",
            tune_layers=0,
            examples=None,
            tokens=self.length,
            batch=self.batch,
            lr=self.lr,
        )

    def start(self, data: Any, seed: int) -> Model:  # type: ignore[override]
        if not isinstance(data, ClassifyData):
            return super().start(data, seed)
        if data.modality == "image":
            return patch_classifier(data, self.pattern(), self.patch, seed)
        return self.texts().start(data, seed)

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
            found["at the start"] = seen(self.start(data, seed), rows)
            model = self.fit(data, Steps(self.study_steps), seed=seed).model
        found["trained"] = seen(model, rows)
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


def seen(model: Model, rows: Rows) -> Depths:
    """What the tokens of test inputs are like after each layer of a model."""
    return depths(model.net, lambda: one_pass(model, rows))
