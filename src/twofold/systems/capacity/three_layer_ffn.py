"""How many linear maps a feed-forward part should have: fewer blocks with three, or more blocks with two.

Gerber 2025, "Attention Is Not All You Need: The Importance of Feedforward Networks in Transformer Models",
https://arxiv.org/abs/2505.06633
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import nn

from twofold import progress
from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.measure.costs import parameters, training_flops
from twofold.objectives import Loss, causal
from twofold.parts import Mask, SequenceModel, feed_forward, presets, scale_branches, set_channels
from twofold.parts.fitting import check_heads
from twofold.surgery import blocks
from twofold.systems.capacity.three_layer_ffn_report import Trained, report
from twofold.tasks import Model, Report, StudySystem, task
from twofold.tasks.language import LanguageData, LanguageModel, TokenBatch, Windows
from twofold.training import Recipe, train

_LAST = 50  # steps whose mean is the training loss


@system(
    "three-layer-ffn",
    number=185,
    title="Attention Is Not All You Need: The Importance of Feedforward Networks in Transformer Models",
    tasks=("language",),
    source="https://arxiv.org/abs/2505.06633",
    year=2025,
    needs=(
        "are feed-forward layers or more blocks better",
        "fewer but deeper transformer blocks",
        "attention-only transformer",
        "how deep a feed-forward part should be",
    ),
    simplified=(
        "widths and rates of the paper are unknown; one width, AdamW and a cosine, the same batches for every arm",
        "documentation in bytes in place of Booksum and WikiText-103, hundreds of steps",
    ),
)
class ThreeLayerFfn(StudySystem):
    """Decoders with none, one, two or three linear maps in each feed-forward part, trained on the same text."""

    k: tuple[NonNegativeInt, ...] = Field(
        (2, 3), min_length=1, description="linear maps of a feed-forward part, 0 to 3"
    )
    blocks: tuple[PositiveInt, ...] = Field(
        (2, 5), min_length=1, description="blocks; every k with every number of them"
    )
    dim: int = Field(64, ge=8, description="width")
    heads: int = Field(4, ge=1, description="attention heads")
    length: int = Field(128, ge=8, description="context in tokens")
    batch: int = Field(16, ge=1, description="windows in a batch")
    steps: int = Field(300, ge=1, description="training steps of each decoder")
    lr: float = Field(2e-3, gt=0, description="highest learning rate")
    texts: int | None = Field(None, ge=1, description="how many unseen texts are judged; by default all")

    def network(self, vocab: int, k: int, count: int) -> SequenceModel:
        """A pre-norm decoder whose blocks have feed-forward parts of `k` linear maps."""
        check_heads("three-layer-ffn", self.dim, self.heads)
        net = presets.decoder(vocab, self.dim, count, self.heads, activation="gelu", gate=False)
        set_channels(net, lambda layer, old: feed_forward(self.dim, 4 * self.dim, k, "gelu", bias=False))
        return scale_branches(net)

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """Trains a decoder for every k and every number of blocks, all on the same batches.

        Args:
            model: none; the study trains its own.
            rows: texts in the column `text`; by default documentation of Python.
            seed: of the weights and the batches.

        Raises:
            UserError: a model is given, or a k that there is not.
        """
        if model is not None:
            raise UserError("three-layer-ffn trains its own decoders; leave the model out and give it text")
        job = task("language")
        data = job.read(job.default_data if rows is None else rows)
        assert isinstance(data, LanguageData)
        cells = list(itertools.product(self.k, self.blocks))
        for k, count in cells:
            with torch.device("meta"):
                self.network(1, k, count)  # refused before anything is trained
        found = []
        with progress.stage("decoders", total=len(cells)) as stage:
            for k, count in cells:
                found.append(self.measure(data, k, count, seed))
                stage.advance(note=f"{found[-1].name}: {found[-1].training_loss:.3f}")
        return report(found)

    def measure(self, data: LanguageData, k: int, count: int, seed: int) -> Trained:
        """Trains one decoder and judges it."""
        tokenizer, job = ByteTokenizer(), task("language")
        torch.manual_seed(seed)
        net = self.network(tokenizer.vocab_size, k, count)
        windows = Windows(tokenizer, data.part("train"), self.length, self.batch, seed)
        history = train(net, _loss, windows, Steps(self.steps), Recipe(lr=self.lr), seed=seed)
        model = LanguageModel(net.eval(), tokenizer, {"length": self.length})
        bits = {
            part: job.evaluate(model, data, part, texts=self.texts).figures["bits_per_byte"]
            for part in ("test", "validation")
        }
        last = [point["loss"] for point in history.curve if point["step"] > history.steps - _LAST]
        return Trained(
            k,
            count,
            sum(parameters(block) for _, block in blocks(net)),
            parameters(net),
            training_flops(net, self.length, self.length * self.batch * self.steps),
            history.seconds,
            sum(last) / len(last),
            bits["test"],
            bits["validation"] * math.log(2),
            tuple((point["seconds"], point["loss"]) for point in history.curve),
        )

    def small(self) -> Self:
        sizes: dict[str, Any] = {"dim": 16, "heads": 2, "length": 16, "batch": 4, "steps": 20, "texts": 2}
        return replace(self, k=self.k[:2], blocks=(1,), **sizes)  # type: ignore[type-var]

    claim: ClassVar[Claim] = Claim(
        says="two blocks with three linear maps in each feed-forward part reach a lower training loss, with fewer "
        "weights and in less time, than five blocks with two",
        paper="three-layer feed-forward parts with fewer blocks: lower training loss with fewer parameters in less "
        "time (Booksum, WikiText-103; for example 10 blocks against 24)",
        arms=(
            Arm("three-layer-ffn", k=(2,), blocks=(5,), steps=400, texts=100),
            Arm("three-layer-ffn", k=(3,), blocks=(2,), steps=400, texts=100),
        ),
        data="pydoc",
        metric="training_loss",
        direction="lower",
        by=0.01,
        repeats=5,
        side=tuple(
            Arm("three-layer-ffn", k=(k,), blocks=(n,), steps=400, texts=100)
            for k, n in ((0, 14), (1, 11), (2, 4), (3, 3))
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        trial={"steps": 100, "texts": 50},
        tune_by="validation_loss",
        minutes=8,
    )


def _loss(net: nn.Module, batch: TokenBatch) -> Loss:
    return causal(net(batch.ids, mask=Mask.causal()), batch.ids)
