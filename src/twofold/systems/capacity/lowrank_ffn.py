"""Low-rank feed-forward parts, trained from scratch; and wider networks for the operations that they save.

Wei, Moalla, Pascanu & Gulcehre 2024, "Investigating Low-Rank Training in Transformer Language Models: Efficiency and
Scaling Analysis", https://arxiv.org/abs/2407.09835; block-dense and block-shuffle maps and self-guided training: the
same, "Building on Efficient Foundations", https://arxiv.org/abs/2406.16450
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.costs import cost
from twofold.measure.scaling import iso_flops
from twofold.objectives import Loss
from twofold.parts import Part, SequenceModel, add_guides, drop_guides, presets, set_guides
from twofold.systems.baselines.decoder import Decoder
from twofold.systems.capacity.lowrank_ffn_study import Form, factorised, scaling
from twofold.tasks import Analysis, Model, Report
from twofold.tasks.language import GuidedBatch, GuidedWindows, LanguageData, LanguageModel, TokenBatch
from twofold.tasks.options import LinearKinds


@system(
    "lowrank-ffn",
    number=184,
    title="Investigating Low-Rank Training in Transformer Language Models: Efficiency and Scaling Analysis",
    tasks=("language",),
    source="https://arxiv.org/abs/2407.09835",
    year=2024,
    needs=(
        "train a language model with fewer weights",
        "low-rank feed-forward layers from scratch",
        "a better language model for the same training operations",
        "scaling laws of structured layers",
    ),
    simplified=(
        "about 0.4 million weights on documentation in place of 110 million to 1.3 billion on RefinedWeb",
        "the claim trains on about 5 tokens a weight, the paper on 20",
        "weight decay acts on the factors, as in the paper; decay of their product is not offered",
    ),
)
class LowRankFfn(Decoder, Analysis):
    """Language model whose feed-forward matrices are low-rank products, and which is wider for the same operations."""

    dim: int = Field(128, ge=8, description="width of the dense decoder that it takes the place of")
    channel: Literal["swiglu", "geglu", "gelu", "relu"] = Field("gelu", description="feed-forward part")
    linear: LinearKinds = Field(
        {"ffn": "lowrank(0.25)"},
        description="kind of linear maps: lowrank(rank), blockdense(rank, blocks) or blockshuffle(blocks)",
    )
    shape: Literal["wide", "slim"] = Field(
        "wide",
        description="wide: as many operations as the dense decoder, with attention of half the width and one group of "
        "keys for two heads; slim: its sizes, so fewer operations",
    )
    guided: bool = Field(False, description="self-guided: dense maps lead the structured ones for half of training")
    guide_sampled: bool = Field(False, description="the guide takes part in a step with its share as probability")
    sizes: tuple[int, ...] = Field((48, 64, 96, 128), min_length=2, description="study: widths of the dense decoders")
    tokens_per_weight: float = Field(2.0, gt=0, description="study: training tokens for each weight of dense blocks")
    texts: int | None = Field(None, ge=1, description="study: how many texts are judged; by default all")

    def network(self, vocab: int) -> SequenceModel:
        return SHAPES[self.shape](self, vocab)

    def start(self, data: LanguageData, seed: int) -> LanguageModel:
        model = super().start(data, seed)
        if self.guided:
            add_guides(model.net)
        return model

    def batches(self, model: Model, data: LanguageData, seed: int) -> Callable[[int, float], GuidedBatch]:
        return GuidedWindows(super().batches(model, data, seed), self.guide_sampled)

    def loss(self, net: Part, batch: TokenBatch) -> Loss:
        assert isinstance(batch, GuidedBatch)
        set_guides(net, batch.alpha)
        return super().loss(net, batch)

    def finish(self, model: Model) -> None:
        drop_guides(model.net)

    @property
    def dense(self) -> Decoder:
        """The dense decoder that it takes the place of."""
        shared: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(Decoder)}
        return Decoder(**shared | {"linear": "dense"})

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """How loss falls with training operations, dense, low-rank and wide; or what low rank costs a trained model.

        Args:
            model: a language model whose trained feed-forward part is factorised, untrained otherwise (the contrast);
                None: decoders of `sizes` are trained.
            rows: texts in the column `text`; by default documentation of Python.
            seed: of the weights and the batches.
        """
        if model is not None:
            return factorised(model, rows, self.texts)
        forms: list[Form] = []
        for dim in self.sizes:
            half, quarter = ({"shape": "slim", "linear": {"ffn": f"lowrank({share})"}} for share in (0.5, 0.25))
            forms += [
                Form("dense", dim, self._changed(dim=dim).dense),
                Form("half rank", dim, self._changed(dim=dim, **half)),
                Form("quarter rank", dim, self._changed(dim=dim, **quarter)),
                Form("wide", dim, self._changed(dim=dim, shape="wide")),
            ]
        return scaling(forms, rows, self.tokens_per_weight, self.texts, seed)

    def small(self) -> Self:
        return super().small()._changed(dim=32, layers=1, heads=2, sizes=(16, 24), tokens_per_weight=0.1, texts=2)

    def _changed(self, **options: Any) -> Self:
        return replace(self, **options)

    claim: ClassVar[Claim] = Claim(
        says="a wider decoder with low-rank feed-forward matrices and narrower attention predicts text better than a "
        "dense one that costs the same operations to train",
        paper="wide and structured against dense at equal training FLOPs: perplexity 17.89 against 18.23 (medium), "
        "with fewer weights; steeper scaling curves; feed-forward part 2.6 times faster at 32 % of its weights",
        arms=(
            Arm("decoder", dim=96, layers=3, length=128, channel="gelu"),
            Arm("lowrank-ffn", dim=96, layers=3, length=128),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.01,
        budget=Steps(900),
        repeats=3,
        side=(
            *(
                Arm("lowrank-ffn", dim=96, layers=3, length=128, shape="slim", linear={"ffn": f"lowrank({share})"})
                for share in (0.5, 0.25)
            ),
            Arm("lowrank-ffn", dim=96, layers=3, length=128, shape="slim", guided=True),
            *(
                arm
                for dim in (48, 64, 128)
                for arm in (
                    Arm("decoder", dim=dim, layers=3, length=128, channel="gelu"),
                    Arm("lowrank-ffn", dim=dim, layers=3, length=128),
                )
            ),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=12,
    )


def _slim(given: LowRankFfn, vocab: int) -> SequenceModel:
    """The dense decoder's sizes."""
    return Decoder.network(given, vocab)


def _wide(given: LowRankFfn, vocab: int) -> SequenceModel:
    """As wide as the dense decoder's operations allow: never more than them."""
    if given.heads % 2 or given.kv_heads is not None:
        raise UserError(
            f"lowrank-ffn: shape=wide shares keys between two heads, and heads is {given.heads}, kv_heads "
            f"{given.kv_heads}; give an even number of heads and leave kv_heads out"
        )
    if given.hidden is not None or given.position != "rope":
        raise UserError(
            "lowrank-ffn: shape=wide has rope and the usual hidden width; leave hidden and position out, or use slim"
        )
    with torch.device("meta"):
        allowed = cost(given.dense.network(vocab), given.length).flops
    widths = range(8, 8 * given.dim, 4)
    return _at(given, vocab, iso_flops(lambda dim: _at(given, vocab, dim), allowed, widths, given.length))


def _at(given: LowRankFfn, vocab: int, dim: int) -> SequenceModel:
    return presets.decoder(
        vocab,
        dim,
        given.layers,
        given.heads,
        given.heads // 2,
        head_dim=2 * max(1, round(dim / (4 * given.heads))),
        linear=given.linear,
        **presets.CHANNELS[given.channel],
    )


SHAPES: dict[str, Callable[[LowRankFfn, int], SequenceModel]] = {"wide": _wide, "slim": _slim}
