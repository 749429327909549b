"""EasyQuant: outliers kept as they are, and for the rest the range that loses least; no data.

Tang, Sun, Wu, Liu, Zhu & Kang 2024, "EasyQuant: An Efficient Data-free Quantization Algorithm for LLMs",
https://arxiv.org/abs/2403.02775
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, system
from twofold.parts import Outliers
from twofold.surgery import IntGrid, best_scale, quantize
from twofold.tasks.quantize import Compact, DataFree


@system(
    "easyquant",
    number=221,
    title="EasyQuant: An Efficient Data-free Quantization Algorithm for LLMs",
    tasks=("search", "language"),
    source="https://arxiv.org/abs/2403.02775",
    year=2024,
    needs=(
        "quantize a model to 4 bits without data",
        "make a trained model smaller without calibration",
        "weight-only quantization that keeps outliers",
        "shrink a language model fast",
    ),
    simplified=(
        "by default the range is found by rounding and solving for the scale in turn, from several starts, which ends "
        "below the paper's gradient steps; range=grad takes those",
    ),
)
class EasyQuant(DataFree):
    """Rounds weights to few bits without data: outliers stay exact, the range of the rest is searched."""

    bits: int = Field(4, ge=2, le=8, description="of a weight that is no outlier")
    n_sigma: float | None = Field(
        3.0, ge=0, allow_inf_nan=False, description="outliers lie further from the mean than so many σ; null: none do"
    )
    cap: float = Field(0.01, gt=0, le=1, description="largest share of a matrix that is kept as outliers")
    range: Literal["alternate", "grad", "absmax"] = Field(
        "alternate",
        description="alternate: rounding and solving for the scale in turn; grad: the paper's gradient steps; "
        "absmax: the largest weight that is no outlier",
    )
    group: int | None = Field(None, ge=1, description="inputs that share a scale; null: all of a row")
    values: Literal["own", "half"] = Field("own", description="outliers in the weights' own type, or in 16 bits")

    def pack(self, weight: Tensor) -> Compact:
        chosen, capped = self.outliers(weight)
        # The range must not see the outliers, so they are taken out first.
        rest = weight.masked_fill(chosen, 0)
        grid = IntGrid(self.bits)
        scale = best_scale(rest, grid, self.group, self.range)
        kept = Outliers.of(weight, chosen, torch.float16 if self.values == "half" else None)
        matrix = quantize(rest, grid, self.group, scale).packed(kept)
        return Compact(matrix, {"outliers": round(kept.count / weight.numel(), 6), "capped": capped})

    def outliers(self, weight: Tensor) -> tuple[Tensor, bool]:
        """Where the outliers are, bool `[out, in]`, and whether the cap left some of them out (the smallest)."""
        if self.n_sigma is None:
            return torch.zeros_like(weight, dtype=torch.bool), False
        # In float64: the mean of equal numbers is that number, and none of them is an outlier.
        distance = (weight.double() - weight.double().mean()).abs()
        chosen = distance > self.n_sigma * weight.double().std(correction=0)
        most = int(self.cap * weight.numel())
        if int(chosen.sum()) <= most:
            return chosen, False
        capped = torch.zeros_like(chosen).flatten()
        capped[distance.flatten().topk(most).indices] = True
        return capped.view_as(chosen), True

    claim: ClassVar[Claim] = Claim(
        says="at 4 bits, outliers kept apart and a searched range lose less than the range of the largest weight",
        paper="OPT-176B at 4 bits almost lossless without data, more than ten times as fast as methods with data",
        arms=(Arm("absmax"), Arm("easyquant", values="half")),
        data="pycode",
        metric="cosine_loss",
        direction="lower",
        scale="ratio",
        by=0.47,
        repeats=3,
        repeat="sample",
        on="minilm",
        task="search",
        setting={"pool": 400, "queries": 200, "texts": 400, "query_tokens": 48, "document_tokens": 48},
        side=(
            Arm("absmax", group=64),
            Arm("easyquant", values="half", range="absmax"),
            Arm("easyquant", n_sigma=None),
            Arm("easyquant", values="half", range="grad"),
            Arm("easyquant"),
            Arm("gptq"),
            Arm("gptq", group=64),
            Arm("absmax", bits=8),
        ),
        minutes=3,
    )
