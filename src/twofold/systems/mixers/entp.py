"""ENTP: the next token from an encoder that reads every prefix afresh, in both directions.

Ewer, Chae, Zeng, Kim & Lee 2024, "ENTP: Encoder-only Next Token Prediction", https://arxiv.org/abs/2410.01600. The
network: `twofold.parts.EveryPrefix`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, cast

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.objectives import Loss
from twofold.objectives.loss import token_loss
from twofold.parts import EveryPrefix, Mask, Part, Pattern, SequenceModel
from twofold.tasks.sequences import SequenceSystem
from twofold.tasks.solve.data import SolveBatch


@system(
    "entp",
    number=62,
    title="ENTP: Encoder-only Next Token Prediction",
    tasks=("solve", "language"),
    source="https://arxiv.org/abs/2410.01600",
    year=2024,
    needs=(
        "generate with an encoder",
        "next-token prediction without a causal mask",
        "learn algorithms that a decoder does not",
    ),
    simplified=(
        "the claim is about sums of two numbers of three digits; Count3, too slow to learn for it, is data with exact "
        "solutions (`count3`), in-context regression is data (`icl-linear`), OpenWebText is not used",
        "every prefix counts in the loss of texts; a random choice of them is not offered",
        "operations are counted for one pass over a context, not for one pass for each prefix",
    ),
)
class Entp(SequenceSystem):
    """Encoder that predicts the next token of every prefix from a pass of its own; nothing is cached."""

    by_name: ClassVar[bool] = True
    mixer: str = Field("attention", description="any mixer that looks both ways, by name")

    def pattern(self) -> Pattern:
        return Pattern.read(
            [{"mixer": self.mixer, "times": self.layers}], dim=self.dim, heads=self.heads, conv=self.conv
        )

    def network(self, vocab: int) -> SequenceModel:
        net = self.pattern().network(vocab, max_len=self.length)
        return EveryPrefix(net.embedding, net.stack, net.head)

    def loss(self, net: Part, batch: Any) -> Loss:
        if not isinstance(batch, SolveBatch):
            return super().loss(net, batch)
        net = cast(EveryPrefix, net)
        before = torch.zeros_like(batch.counted)
        before[:, :-1] = batch.counted[:, 1:]
        states = net.at(batch.ids, Mask.causal() & Mask.segments(batch.segments), before)
        value = token_loss(net.apply_head(states), batch.ids.roll(-1, 1)[before])
        return Loss(value, {"loss": value.detach()})

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2), length=min(self.length, 16))

    claim: ClassVar[Claim] = Claim(
        says="an encoder that reads every prefix afresh adds numbers it has not seen more exactly than a decoder of "
        "the same size, from as few examples",
        paper="learns Count3, which decoders do not; longer additions and in-context regression from fewer examples",
        arms=(
            Arm("backbone", dim=64, layers=3, batch=64),
            Arm("entp", dim=64, layers=3, batch=64),
        ),
        data="algorithms:add(length=3, train=4000)",
        task="solve",
        metric="token_accuracy",
        by=0.02,
        budget=Steps(1500),
        repeats=3,
        tune={"lr": (5e-4, 1e-3, 2e-3)},
        minutes=48,
    )
