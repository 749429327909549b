"""GPTQ: weights rounded one input at a time, each error made good by the inputs that are still to be rounded.

Frantar, Ashkboos, Hoefler & Alistarh 2023, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", https://arxiv.org/abs/2210.17323
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from twofold.catalog import baseline
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Part
from twofold.surgery import Gram, IntGrid, Quantized, Walk
from twofold.surgery.quantize import from_range, group_size
from twofold.tasks.calibration import calibrate
from twofold.tasks.model import Model
from twofold.tasks.quantize import Compact, Layers, QuantizeSystem

_BLOCK = 128  # inputs whose corrections are gathered before all later ones get theirs


@baseline(
    "gptq",
    title="GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers",
    tasks=("search", "language"),
    needs=("quantize a model to 4 bits with calibration data",),
    source="https://arxiv.org/abs/2210.17323",
)
class Gptq(QuantizeSystem):
    """Rounds weights input by input and corrects the rest, from the Gram matrix of calibration activations."""

    bits: int = Field(4, ge=2, le=8, description="of a weight")
    group: int | None = Field(None, ge=1, description="inputs that share a scale; null: all of a row")
    damp: float = Field(0.01, gt=0, description="added to the Gram's diagonal, as a share of its mean")
    samples: int = Field(128, ge=1, description="how many texts to calibrate on")
    tokens: int = Field(64, ge=2, description="calibration texts are cut at this many tokens")

    def compact(self, net: Part, layers: Layers, model: Model, rows: Rows | None, seed: int) -> dict[str, Compact]:
        if rows is None:
            raise UserError("gptq calibrates on data; give texts, or use absmax or easyquant, which need none")
        calibration = calibrate(model, rows, self.samples, self.tokens, seed)
        found: dict[str, Compact] = {}
        for layer in Walk(net, calibration.batches, "round and correct"):
            inside = {name: part for name, part in layers.items() if name.startswith(f"{layer.name}.")}
            grams = {name: Gram() for name in inside}
            layer.observe({part: grams[name] for name, part in inside.items()})
            for name, part in inside.items():
                rounded = corrected(part.weight.detach(), grams[name].matrix, IntGrid(self.bits), self.group, self.damp)
                found[name] = Compact(rounded.packed())
                # The blocks behind are calibrated on what the rounded ones give.
                with torch.no_grad():
                    part.weight.copy_(rounded.dense())
        return found


def corrected(
    weight: Tensor, gram: np.ndarray, grid: IntGrid, group: int | None = None, damp: float = 0.01
) -> Quantized:
    """A matrix rounded to a symmetric grid so that its outputs change little. Algorithm 1 of the paper.

    Args:
        weight: `[out, in]`.
        gram: ZᵀZ `[in, in]` of its inputs.
        grid: the levels.
        group: columns that share a scale, taken when the group's first column is reached; None: the whole row.
        damp: added to the diagonal, as a share of its mean.
    """
    w, columns, size = weight.float().clone(), weight.shape[1], group_size(weight, group)
    h = torch.as_tensor(gram, dtype=torch.float64).clone()
    diagonal = h.diagonal()
    w[:, diagonal == 0] = 0
    diagonal[diagonal == 0] = 1
    diagonal += damp * diagonal.mean()
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True).float()
    scales, codes = from_range(w, grid, size)[0], torch.zeros_like(w, dtype=torch.uint8)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = torch.zeros(len(w), stop - start)
        for c in range(start, stop):
            if group is not None and c % size == 0:
                scales[:, c // size] = from_range(w[:, c : c + size], grid)[0][:, 0]
            scale = scales[:, c // size].float()
            column = w[:, c]
            codes[:, c] = grid.codes(column * torch.where(scale > 0, scale.reciprocal(), 0.0))
            error = (column - grid.levels(codes[:, c]) * scale) / upper[c, c]
            w[:, c:stop] -= error[:, None] * upper[c, c:stop]
            errors[:, c - start] = error
        w[:, stop:] -= errors @ upper[start:stop, stop:]
    return Quantized(codes, scales, None, grid, size)
