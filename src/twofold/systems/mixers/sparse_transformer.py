"""Sparse Transformer: causal attention in two patterns of about √T pairs each, which together connect everything.

Child, Gray, Radford & Sutskever 2019, "Generating Long Sequences with Sparse Transformers",
https://arxiv.org/abs/1904.10509
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError
from twofold.parts import Block, Dense, LMHead, Pattern, SequenceModel, TokenEmbedding
from twofold.parts.fitting import stretch
from twofold.parts.init import normal
from twofold.tasks.sequences import SequenceSystem


@system(
    "sparse-transformer",
    number=220,
    title="Generating Long Sequences with Sparse Transformers",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/1904.10509",
    year=2019,
    needs=(
        "model images or sound as long sequences",
        "attention at less than quadratic cost",
        "sequences with a period",
        "train deep stacks in little memory",
    ),
    simplified=(
        "the claim reads made pictures whose lower half mirrors the upper, in place of CIFAR-10, ImageNet and enwik8",
        "patterns take turns over layers or are merged in one head; a head for each pattern is not offered",
        "dropout is left out, as its rates are tied to data sets of the paper's size",
    ),
)
class SparseTransformer(SequenceSystem):
    """Decoder with strided or fixed sparse attention: about √T pairs a token, and everything within two layers."""

    by_name: ClassVar[bool] = True

    attention: Literal["strided", "fixed"] = Field(
        "strided", description="strided for data with a period (pictures, sound); fixed for text"
    )
    stride: int | None = Field(None, ge=2, description="row of a picture, or block of text; by default about √length")
    summary: int = Field(1, ge=1, description="fixed: last positions of a block that all later blocks see")
    combine: Literal["interleave", "merge"] = Field(
        "interleave", description="patterns take turns over layers, or every head sees both"
    )
    recompute: bool = Field(False, description="compute inner states again in the backward pass, to save memory")

    @property
    def period(self) -> int:
        """The stride that is used.

        Raises:
            UserError: a stride longer than the context, or summaries as long as a block.
        """
        period = stretch(self.id, "stride", self.stride, self.length, max(2, round(self.length**0.5)))
        if self.attention == "fixed" and self.summary >= period:
            raise UserError(
                f"sparse-transformer: summary is {self.summary} and a block {period} long; use summary={period - 1} or "
                "less"
            )
        return period

    def mixers(self) -> list[dict[str, Any]]:
        """The patterns that take turns, or the one in which they are merged."""
        stride, kind = self.period, {"stride": self.period}
        if self.attention == "fixed":
            kind = kind | {"summary": self.summary}
            merged, near, far = "fixed-attention", {"kind": "block-local", "width": stride}, "summary-attention"
        else:
            near = {"kind": "local-attention", "window": min(stride + 1, self.length)}
            merged, far = "strided-attention", "column-attention"
        return [{"kind": merged, **kind}] if self.combine == "merge" else [near, {"kind": far, **kind}]

    def pattern(self) -> Pattern:
        mixers = self.mixers()
        entry = {
            "channel": {"kind": "ffn", "activation": "gelu_sigmoid", "bias": True},
            "wiring": "recomputed" if self.recompute else "pre",
        }
        layers = [{"mixer": mixers[i % len(mixers)], **entry} for i in range(self.layers)]
        rows = -(-self.length // self.period)
        position = {"kind": "axis-positions", "sizes": [rows, self.period]}
        return Pattern.read(
            layers, dim=self.dim, heads=self.heads, conv=self.conv, norm="layer", position=position, tied=False
        )

    def network(self, vocab: int) -> SequenceModel:
        return init_sparse(super().network(vocab))

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2))

    claim: ClassVar[Claim] = Claim(
        says="strided attention finds what lies rows back in its own column, out of reach of windows with more pairs",
        paper="CIFAR-10 in 2.80 bits a dimension with strided attention (dense 2.82), enwik8 in 0.99 bits a byte with "
        "fixed attention (dense 1.00)",
        arms=(
            Arm(
                "backbone",
                backbone={
                    "layers": [{"mixer": {"kind": "local-attention", "window": 17}, "channel": "gelu", "times": 4}],
                    "position": {"kind": "axis-positions", "sizes": [16, 16]},
                },
                dim=64,
                length=256,
                batch=16,
            ),
            Arm("sparse-transformer", dim=64, length=256, batch=16, stride=16),
        ),
        data="mirror(rows=16, width=16, colours=8)",
        task="solve",
        metric="bits_per_label",
        direction="lower",
        by=0.1,
        budget=Steps(250),
        repeats=3,
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        minutes=5,
    )


def init_sparse(net: SequenceModel) -> SequenceModel:
    """The paper's start (its section 6), in place: matrices N(0, 0.125 / √inputs), offsets 0, the last matrix of each
    mixer and channel mixer divided by √(2 layers), logits 0.

    Raises:
        UserError: a network whose head is not a matrix of its own.
    """
    if not isinstance(net.head, LMHead):
        raise UserError("init_sparse starts the head at 0, so it must have a matrix of its own; use tied=False")
    blocks = [layer for layer in net.stack.layers if isinstance(layer, Block)]
    for part in net.stack.modules():
        if isinstance(part, Dense):
            normal(part.weight, 0.125 * part.in_features**-0.5)
            if part.bias is not None:
                torch.nn.init.zeros_(part.bias)
    embedding = cast(TokenEmbedding, net.embedding)
    normal(embedding.tokens.weight, 0.125 * net.dim**-0.5)
    for weight in getattr(embedding.position, "weights", ()):
        normal(weight, 0.125 * (net.dim * len(cast(Any, embedding.position).weights)) ** -0.5)
    with torch.no_grad():
        for block in blocks:
            for mixing, last in ((block.mixer, "out"), (block.channel, "down")):
                matrix = getattr(getattr(mixing, "mixer", mixing), last, None)
                if isinstance(matrix, Dense):
                    matrix.weight.mul_((2 * len(blocks)) ** -0.5)
        net.head.decoder.weight.zero_()
    return net
