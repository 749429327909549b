"""YOCO: a decoder whose first half has windows or states, and whose second half reads one set of keys and values.

Sun et al. 2024, "You Only Cache Once: Decoder-Decoder Architectures for Language Models",
https://arxiv.org/abs/2405.05254. The second half: `twofold.parts.SharedCache`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Guard, Saving, Steps, system
from twofold.errors import UserError
from twofold.parts import Pattern
from twofold.parts.fitting import stretch
from twofold.tasks.sequences import SequenceSystem


@system(
    "yoco",
    number=212,
    title="You Only Cache Once: Decoder-Decoder Architectures for Language Models",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2405.05254",
    year=2024,
    needs=(
        "smaller key-value cache",
        "read long prompts faster",
        "language model for long contexts in little memory",
    ),
    simplified=(
        "4 layers trained from scratch in place of 3 billion weights at a million tokens",
        "the claim recalls 4 pairs from 64 tokens in place of needles",
        "the claim has windows in the first half, and gated retention (self_mixer=retention) beside it",
    ),
)
class Yoco(SequenceSystem):
    """Decoder whose second half reads keys and values that are made once, so that one layer's cache serves all."""

    by_name: ClassVar[bool] = True

    self_mixer: str = Field(
        "window",
        description="mixer of the first half, by name: one whose memory does not grow (window, retention, ssd, …)",
    )
    window: int | None = Field(
        None, ge=1, description="how far the first half sees, where it is a window; by default 64, or all of less"
    )
    kv_heads: int | None = Field(None, ge=1, description="groups of the shared keys and values; by default as heads")

    def pattern(self) -> Pattern:
        if self.layers < 2:
            raise UserError(f"yoco: layers={self.layers} cannot be cut in two halves; use layers=2 or more")
        near: dict[str, Any] = {"kind": self.self_mixer}
        if self.self_mixer in ("window", "local-attention"):
            near = {"kind": "local-attention", "window": stretch(self.id, "window", self.window, self.length)}
        reader: dict[str, Any] = {"kind": "shared-attention"}
        if self.kv_heads is not None:
            reader["kv_heads"] = self.kv_heads
        first = self.layers // 2
        second = {"shared": [{"mixer": reader, "conv": 0, "times": self.layers - first}]}
        layers = [{"mixer": near, "times": first}, second]
        return Pattern.read(layers, dim=self.dim, heads=self.heads, conv=self.conv)

    def small(self) -> Self:
        return super().small().changed(layers=2, window=min(self.window or 8, 8))

    claim: ClassVar[Claim] = Claim(
        says="windows and one shared cache recall as well as a Transformer, whose cache is at least twice as large",
        paper="as good as a Transformer of 3 billion weights, with about a ninth of the memory at 512k tokens",
        arms=(
            Arm("backbone", dim=64, layers=4, length=64, batch=32, conv=3),
            Arm("yoco", dim=64, layers=4, length=64, batch=32, conv=3, window=8),
        ),
        data="mqar(time=64, pairs=4, symbols=32)",
        task="solve",
        metric="accuracy",
        by=-0.03,
        parity=True,
        saving=Saving("cache_bytes", 0.5),
        guards=(Guard("accuracy", of="baseline", at_least=0.9),),
        budget=Steps(600),
        repeats=3,
        side=(
            Arm(
                "backbone",
                backbone=[{"mixer": {"kind": "local-attention", "window": 8}, "times": 4}],
                dim=64,
                length=64,
                batch=32,
                conv=3,
            ),
            Arm("yoco", dim=64, layers=4, length=64, batch=32, conv=3, self_mixer="retention"),
        ),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        tune_by="log_likelihood",
        minutes=5,
    )
