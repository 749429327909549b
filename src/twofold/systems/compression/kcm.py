"""KCM: feed-forward neurons cut without gradients or labels, by kernelised convex masking.

Nova, Dai & Schuurmans 2023, "Gradient-Free Structured Pruning with Unlabeled Data", https://arxiv.org/abs/2303.04185
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, system
from twofold.parts import Part
from twofold.surgery import Neurons, Squares, Walk, unit_range
from twofold.tasks.shrink import Calibration, NeuronPruning


@system(
    "kcm",
    number=231,
    title="Gradient-Free Structured Pruning with Unlabeled Data",
    tasks=("search", "language"),
    source="https://arxiv.org/abs/2303.04185",
    year=2023,
    needs=(
        "shrink a BERT without labels",
        "make a trained model smaller and faster",
        "prune neurons without training",
        "structured pruning without gradients",
    ),
    simplified=(
        "how the two ranks are scaled and joined is not certain from the paper: each is scaled to [0, 1] in its layer "
        "and they are multiplied",
    ),
)
class Kcm(NeuronPruning):
    """Cuts feed-forward neurons that others can stand for and that seldom speak; no gradients, no labels."""

    rank: Literal["r2d2", "sum", "r2", "d2"] = Field(
        "r2d2", description="r2d2: product of both ranks; sum: their sum; r2: weights alone; d2: activations alone"
    )
    vector: Literal["outgoing", "incoming"] = Field(
        "outgoing", description="what stands for a neuron in R2: the weights it writes with, or those it reads with"
    )
    weighted: bool = Field(False, description="D2 counts a neuron's activation times the norm of its outgoing weights")

    def scores(self, net: Part, neurons: Sequence[Neurons], calibration: Calibration) -> list[np.ndarray]:
        """R2D2: representative rank times data rank, each scaled to [0, 1] within its layer."""
        joined = []
        for r2, d2 in zip(self._representative(neurons), self._data(net, neurons, calibration), strict=True):
            joined.append({"r2d2": r2 * d2, "sum": r2 + d2, "r2": r2, "d2": d2}[self.rank])
        return joined

    def _representative(self, neurons: Sequence[Neurons]) -> list[np.ndarray]:
        if self.rank == "d2":
            return [np.ones(u.count) for u in neurons]
        return [
            unit_range(representative(u.outgoing if self.vector == "outgoing" else u.incoming).cpu().numpy())
            for u in neurons
        ]

    def _data(self, net: Part, neurons: Sequence[Neurons], calibration: Calibration) -> list[np.ndarray]:
        if self.rank == "r2":
            return [np.ones(u.count) for u in neurons]
        squares = {u.block: (u, Squares()) for u in neurons}
        for layer in Walk(net, calibration.batches, "activations"):
            if layer.block in squares:
                unit, seen = squares[layer.block]
                layer.observe({unit.reader: seen})
        ranks = []
        for unit, seen in squares.values():
            norms = seen.norms
            if self.weighted:
                norms = norms * unit.outgoing.norm(dim=1).double().cpu().numpy()
            ranks.append(unit_range(norms))
        return ranks

    claim: ClassVar[Claim] = Claim(
        says="neurons cut by representative and data rank cost less quality than neurons cut by weight norm",
        paper="BERT: 40% of the operations removed for less than 4% of accuracy on GLUE and SQuAD, without labels",
        arms=(Arm("weight-norm", keep=0.7), Arm("kcm", keep=0.7)),
        data="pycode",
        metric="mrr@10",
        by=0.02,
        repeats=3,
        repeat="sample",
        on="minilm",
        task="search",
        setting={"pool": 500, "queries": 200, "query_tokens": 48, "document_tokens": 48},
        side=(
            Arm("kcm", keep=1.0),
            Arm("kcm", keep=0.7, rank="r2"),
            Arm("kcm", keep=0.7, rank="d2"),
            Arm("weight-norm", keep=0.6),
            Arm("kcm", keep=0.6),
            Arm("kcm", keep=0.8),
        ),
        minutes=4,
    )


def representative(features: Tensor, rounds: int = 20, change: float = 0.01) -> Tensor:
    """R2: how much each of `features [m, d]` represents itself, `[m]`; large outside the hull of the others.

    C ≥ 0 that minimises ‖φ(F) − φ(F)C‖² for the Gaussian kernel on unit vectors; the score is C_ii.

    Args:
        features: one row a neuron.
        rounds: at most so many updates of C.
        change: stop when C changes by less than this share of its norm.
    """
    kernel = gaussian(features)
    c = torch.full_like(kernel, 1 / len(kernel))
    for _ in range(rounds):
        new = update(kernel, c)
        done = (new - c).norm() < change * c.norm()
        c = new
        if done:
            break
    return c.diagonal().clone()


def gaussian(features: Tensor) -> Tensor:
    """exp(−‖f_i − f_j‖² / 2) of the features scaled to length one, `[m, m]`."""
    unit = torch.nn.functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=1)
    # For unit vectors half the squared distance is 1 − cosine, but a silent neuron is at the origin.
    square = unit.square().sum(1)
    return torch.exp(unit @ unit.T - (square[:, None] + square[None]) / 2)


def update(kernel: Tensor, c: Tensor) -> Tensor:
    """One step C ⊙ √(K / (KC)): the objective never rises and C stays non-negative (Ding, Li & Jordan 2010)."""
    return c * (kernel / (kernel @ c)).sqrt()


def objective(kernel: Tensor, c: Tensor) -> Tensor:
    """‖φ(F) − φ(F)C‖² = tr(K − 2KC + CᵀKC)."""
    return kernel.diagonal().sum() - 2 * (kernel * c).sum() + (c * (kernel @ c)).sum()
