"""wave-rnn: a recurrent network on a ring, in which the recent past travels as a wave.

Keller, Muller, Sejnowski & Welling 2023, "Traveling Waves Encode the Recent Past and Enhance Sequence Learning",
https://arxiv.org/abs/2309.08045. The mixer itself: `twofold.parts.RingConv`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.parts import RingConv, SequenceModel
from twofold.parts.presets import recurrent
from twofold.tasks.solve import RecurrentSystem


@system(
    "wave-rnn",
    number=32,
    title="Traveling Waves Encode the Recent Past and Enhance Sequence Learning",
    tasks=("solve",),
    source="https://arxiv.org/abs/2309.08045",
    year=2023,
    needs=(
        "a recurrent network that remembers what came many steps ago",
        "small memory network for sequences",
        "copy and recall tasks for recurrent networks",
    ),
    simplified=(
        "copying over 30 blanks, 600 steps of 64 sequences, in place of up to 480 blanks and 60,000 steps of 128",
        "adding, sequential digits and noisy images are not among the claim's tasks",
        "kernels are shared around the ring; locally connected ones are not offered",
    ),
)
class WaveRnn(RecurrentSystem):
    """Recurrent network whose state is a ring of channels, carried on by one position a step."""

    channels: int = Field(6, ge=1, description="channels of the ring")
    positions: int = Field(100, ge=1, description="positions of the ring: how many steps the past can be told apart")
    kernel: int = Field(3, ge=1, description="positions that a step reaches, odd")
    wave: Literal["shift", "identity", "random"] = Field(
        "shift", description="of the kernel: by one position (a wave), in place (no wave), or random"
    )
    activation: Literal["relu", "tanh"] = Field("relu", description="between steps")
    entry: Literal["solo", "spread"] = Field(
        "solo", description="of the input weights: into position 0 alone, alike for all symbols, or small and random"
    )

    def network(self, vocab: int) -> SequenceModel:
        net = recurrent(vocab, RingConv(self.channels, self.positions, self.kernel, self.wave, self.activation))
        if self.entry == "solo":
            assert net.embedding.table is not None
            with torch.no_grad():
                net.embedding.table.zero_().unflatten(1, (self.channels, self.positions))[:, :, 0] = 1.0
        return net

    def small(self) -> Self:
        return replace(super().small(), channels=2, positions=16)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="a ring that carries the past on as a wave copies with a loss at most a third of that of a recurrent "
        "network whose matrix starts as the identity",
        paper="copying after 30 blanks: mean squared error about 1e-9 (wave) against 1e-1 and worse (iRNN), in fewer "
        "steps",
        arms=(Arm("irnn"), Arm("wave-rnn")),
        data="copy-memory(delay=30)",
        metric="bits_per_label",
        direction="lower",
        scale="ratio",
        by=1.1,
        budget=Steps(600),
        repeats=3,
        tune={"clip": (0.0, 1.0)},
        minutes=4,
    )
