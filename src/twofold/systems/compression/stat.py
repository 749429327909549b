"""STAT: neurons and heads cut by interpolative decomposition, with a closed-form correction of the next layer.

Flynn, Wang, Alvarez, De Sa & Damle 2024, "STAT: Shrinking Transformers After Training", https://arxiv.org/abs/2406.00061
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from twofold.catalog import Arm, Claim, system
from twofold.errors import UserError
from twofold.parts import Part
from twofold.surgery import Budget, Gram, Heads, Pivoted, Units, Walk, block_pivoted, find, pivoted, repair, root
from twofold.tasks.shrink import Calibration, Cut, ShrinkSystem


@system(
    "stat",
    number=100,
    title="STAT: Shrinking Transformers After Training",
    tasks=("search", "language"),
    source="https://arxiv.org/abs/2406.00061",
    year=2024,
    needs=(
        "shrink a BERT without labels",
        "make a trained model smaller and faster without training",
        "prune neurons and attention heads",
        "structured pruning with a correction",
    ),
    simplified=(
        "ε and with it every layer's size are read off the whole network; columns and correction of a layer are then "
        "found again, at that size, from activations of the network already cut before it",
        "where the next head or neuron in the order no longer fits the budget, later ones that do are taken",
    ),
)
class Stat(ShrinkSystem):
    """Cuts neurons and heads that the others can replace, and folds the replacement into the next layer."""

    heads: bool = Field(True, description="cut attention heads too (with shared keys: whole groups), not neurons only")
    correct: bool = Field(True, description="fold the correction into the next layer; off only to see what it is worth")
    sequential: bool = Field(True, description="later layers see what was cut before them")

    def units(self, net: Part) -> list[Units]:
        return find(net, heads=self.heads)

    def enough(self, units: Sequence[Units], calibration: Calibration) -> None:
        widest = max(units, key=lambda u: u.count * u.width)
        columns = widest.count * widest.width
        if calibration.tokens < columns and self.keep < 1:
            raise UserError(
                f"{calibration.tokens} calibration tokens (from {calibration.texts} texts) are too few for the "
                f"{columns} activations of {widest.name}: at least as many are needed; give more text, or raise "
                f"samples (now {self.samples}) or tokens (now {self.tokens})"
            )

    def shrink(self, net: Part, calibration: Calibration, budget: Budget) -> Cut:
        if self.keep == 1:
            return Cut()
        ratios = self._ratios(net, calibration, budget.units)
        chosen = budget.choose(ratios, self.uniform)
        sizes = {u.name: len(c) for u, c in zip(budget.units, chosen, strict=True) if len(c) < u.count}
        targets = {u.name: u for u in budget.units}
        source = net if self.sequential else copy.deepcopy(net)
        seen = targets if self.sequential else {u.name: u for u in self.units(source)}
        errors = {}
        for layer in Walk(source, calibration.batches, "cut and correct"):
            for name in (n for n, u in seen.items() if u.block is layer.block and n in sizes):
                gram = Gram()
                layer.observe({seen[name].reader: gram})
                errors[name] = self._cut(targets[name], sizes[name], gram.matrix)
        kept = [r[len(c) - 1] for r, c in zip(ratios, chosen, strict=True) if len(c) < len(r)]
        return Cut(errors, {"epsilon": float(min(kept, default=0.0))})

    def _ratios(self, net: Part, calibration: Calibration, units: Sequence[Units]) -> list[np.ndarray]:
        """For each of `units`, abs(R_kk / R_11) of its activations in the whole network."""
        ratios: dict[Units, np.ndarray] = {}
        for layer in Walk(net, calibration.batches, "measure activations"):
            grams = {u: Gram() for u in units if u.block is layer.block}
            layer.observe({u.reader: gram for u, gram in grams.items()})
            ratios |= {u: factor(u, gram.matrix).ratios for u, gram in grams.items()}
        return [ratios[u] for u in units]

    def _cut(self, unit: Units, size: int, gram: np.ndarray) -> float:
        """Cuts one part to `size` units; the relative error of what the layer behind it gives."""
        found = factor(unit, gram).take(size)
        kept = np.unique(found.kept // unit.width)
        weight = unit.reader.weight.detach().double().cpu().numpy()
        new = repair.fold(weight, found.transfer) if self.correct else weight[:, found.kept]
        unit.keep(kept, new)
        return repair.output_error(gram, weight, found.kept, new)

    claim: ClassVar[Claim] = Claim(
        says="cutting neurons and heads that others can replace, with the replacement folded in, costs less quality "
        "than cutting neurons by gradient-free scores",
        paper="BERT: at equal operations more accurate on GLUE and SQuAD than gradient-free pruning, in minutes",
        arms=(Arm("kcm", keep=0.7), Arm("stat", keep=0.7)),
        data="pycode",
        metric="mrr@10",
        by=0.03,
        repeats=3,
        repeat="sample",
        on="minilm",
        task="search",
        setting={"pool": 500, "queries": 200, "query_tokens": 48, "document_tokens": 48},
        side=(
            Arm("stat", keep=1.0),
            Arm("stat", keep=0.7, correct=False),
            Arm("stat", keep=0.7, heads=False),
            Arm("stat", keep=0.7, sequential=False),
            Arm("stat", keep=0.8),
            Arm("kcm", keep=0.6),
            Arm("stat", keep=0.6),
            Arm("stat", keep=0.5),
        ),
        minutes=4,
    )


def factor(unit: Units, gram: np.ndarray) -> Pivoted:
    """The pivoted QR of a unit's activations, from ZᵀZ: by columns for neurons, by whole heads for attention."""
    z = root(gram)
    return block_pivoted(z, unit.width) if isinstance(unit, Heads) else pivoted(z)
