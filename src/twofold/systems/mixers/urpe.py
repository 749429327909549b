"""URPE attention: relative positions that can tell places apart.

Luo, Li, Zheng, Liu, Wang & He 2022, "Your Transformer May Not be as Powerful as You Expect",
https://arxiv.org/abs/2205.13401
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Mask, Pattern, T5Bias
from twofold.tasks import Analysis, Model, Report
from twofold.tasks.sequences import SequenceSystem
from twofold.tasks.system import Table

SCHEMES = ("none", "t5", "alibi", "rope")


@system(
    "urpe",
    number=226,
    title="Your Transformer May Not be as Powerful as You Expect",
    tasks=("language", "solve"),
    source="https://arxiv.org/abs/2205.13401",
    year=2022,
    needs=(
        "why can a transformer not count positions",
        "relative position encoding that is a universal approximator",
        "what can attention with relative positions not compute",
    ),
    simplified=(
        "causal attention, so the lower triangle of the factors, in place of two-sided",
        "position identification and text; graphs and even tokens are left out",
    ),
)
class Urpe(SequenceSystem, Analysis):
    """Decoder whose attention probabilities are multiplied by learned factors of distance."""

    by_name: ClassVar[bool] = True

    base: Literal["none", "t5", "alibi", "rope"] = Field("t5", description="the relative position beneath")

    def pattern(self) -> Pattern:
        layer = {"position": {"kind": "urpe", "base": self.base}, "times": self.layers}
        return Pattern.read([layer], dim=self.dim, heads=self.heads, conv=self.conv)

    def run(self, model: Model | None, rows: Rows | None, *, seed: int = 0) -> Report:
        """How far outputs of random networks differ between the places of a constant sequence: not at all (to
        rounding) with any relative bias or rotation, and clearly with random factors.

        Args:
            model, rows: none; networks are made from the seed.
        """
        if model is not None:
            raise UserError("urpe makes its own networks; leave the model out")
        ids = torch.zeros(1, self.length, dtype=torch.long)
        spread: dict[str, float] = {}
        for scheme in SCHEMES:
            for name, position in ((scheme, scheme), (f"{scheme} + urpe", {"kind": "urpe", "base": scheme})):
                torch.manual_seed(seed)
                layers = [{"position": position, "times": self.layers}]
                pattern = Pattern.read(layers, dim=self.dim, heads=self.heads)
                net = pattern.network(self.length, causal=True, max_len=self.length).double()
                with torch.no_grad():
                    for part in net.modules():
                        for label, own in part.named_parameters(recurse=False):
                            if label == "coefficients" or isinstance(part, T5Bias):
                                own.add_(torch.randn_like(own))
                    out = net(ids, Mask.causal())[0]
                spread[name] = float((out - out.mean(0)).abs().max() / out.abs().max())
        rows_ = tuple((name, value, "can" if value > 1e-6 else "cannot") for name, value in spread.items())
        table = Table(
            "Largest difference between places, relative", ("position", "difference", "tells places apart"), rows_
        )
        return Report(
            {f"difference {name}": value for name, value in spread.items()},
            (table,),
            text="Softmax rows sum to 1, so on a constant sequence every output is the same value whatever the bias.",
        )

    def small(self) -> Self:
        return super().small().changed(layers=min(self.layers, 2))

    claim: ClassVar[Claim] = Claim(
        says="with factors behind the softmax a network finds out where in a constant sequence it is; with a relative "
        "bias alone it cannot",
        paper="position identification about 100 % against chance for relative positions",
        arms=(
            Arm("backbone", backbone=[{"position": "t5", "times": 2}], dim=32, length=64, batch=2),
            Arm("urpe", dim=32, layers=2, length=64, batch=2),
        ),
        data="where(time=64)",
        task="solve",
        metric="accuracy",
        by=0.5,
        budget=Steps(1000),
        repeats=3,
        side=(Arm("urpe", dim=32, layers=2, length=64, batch=2, base="rope"),),
        tune={"lr": (1e-3, 2e-3, 4e-3)},
        tune_by="log_likelihood",
        minutes=2,
    )
