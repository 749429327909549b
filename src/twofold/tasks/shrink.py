"""Shrinking a trained network: what every transform that cuts units shares.

A system says which units stay and how what is left is repaired; texts, budget, refusals and the report are here.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.parts import Part
from twofold.surgery import (
    Budget,
    Gram,
    Neurons,
    Units,
    Walk,
    block_flops,
    find,
    refuse_damaged,
    refuse_packed,
    repair,
)
from twofold.tasks.calibration import Calibration, calibrate
from twofold.tasks.model import Model
from twofold.tasks.system import TransformSystem


@dataclass(frozen=True)
class Cut:
    """What a method says of its own work.

    Attributes:
        errors: by the name of a part, the relative error of what the layer that reads its units gives.
        figures: numbers about the whole, by name.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ShrinkSystem(TransformSystem, ABC):
    """A transform that gives back a really smaller network: fewer neurons, fewer heads, no masks."""

    keep: float = Field(0.7, gt=0, le=1, description="share of the blocks' operations that stays")
    samples: int = Field(256, ge=1, description="how many texts to calibrate on")
    tokens: int = Field(64, ge=2, description="calibration texts are cut at this many tokens")
    uniform: bool = Field(False, description="one width for all layers, as Hugging Face formats need it")

    @abstractmethod
    def units(self, net: Part) -> list[Units]:
        """What may be cut."""

    @abstractmethod
    def shrink(self, net: Part, calibration: Calibration, budget: Budget) -> Cut:
        """Cuts `net` in place, to within `budget`."""

    def enough(self, units: Sequence[Units], calibration: Calibration) -> None:
        """Refuses data that are too few for the method's statistics (UserError with the numbers)."""

    def small(self) -> Self:
        return replace(self, samples=min(self.samples, 64), tokens=min(self.tokens, 32))

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A smaller copy of `model`; what was indexed with the old network is left behind.

        Args:
            model: any text model of plain (not packed) transformer blocks.
            rows: texts to calibrate on, in the column `text`, or `query` and `document`. No label is read.
            seed: of the sample that is taken from them.

        Raises:
            UserError: a model that cannot be cut, weights that are not finite, too few texts, or a share that
                cannot be reached; names the part, the numbers and what to change.
        """
        refuse_packed(model.net, self.id)
        refuse_damaged(model.net)
        calibration = calibrate(model, rows, self.samples, self.tokens, seed)
        net = copy.deepcopy(model.net).eval()
        units = self.units(net)
        budget = Budget(net, units, self.keep, calibration.length)
        self.enough(units, calibration)
        whole, counts = budget.total, {u.name: u.count for u in units}
        cut = self.shrink(net, calibration, budget)
        layers = [
            {"layer": u.name, "kind": u.kind, "kept": u.count, "of": counts[u.name]}
            | ({"error": round(cut.errors[u.name], 6)} if u.name in cut.errors else {})
            for u in units
        ]
        report = {
            "keep": round(block_flops(net, calibration.length) / whole, 6),
            "parameters": sum(p.numel() for p in net.parameters()),
            "texts": calibration.texts,
            "tokens": calibration.tokens,
            "length": calibration.length,
            **cut.figures,
            "layers": layers,
        }
        small = type(model)(net, model.tokenizer, model.spec, model.history, model.notes)
        return small.remember(self.id, self.options(), report)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class NeuronPruning(ShrinkSystem, ABC):
    """Cuts feed-forward neurons by a score: the highest score per operation stays, across all layers."""

    repair: Literal["none", "scale", "shift"] = Field(
        "none",
        description="of the layer behind: none; scale: a factor for each neuron, by least squares; "
        "shift: what was cut goes into the bias on average",
    )

    @abstractmethod
    def scores(self, net: Part, neurons: Sequence[Neurons], calibration: Calibration) -> list[np.ndarray]:
        """One score a neuron for each layer, comparable between layers; more is better."""

    def units(self, net: Part) -> list[Units]:
        found = find(net, heads=False)
        without = next((u.name for u in found if u.reader.bias is None), None)
        if self.repair == "shift" and without:
            raise UserError(f"repair=shift needs a bias, and {without}.down has none; use repair=scale")
        return found

    def shrink(self, net: Part, calibration: Calibration, budget: Budget) -> Cut:
        neurons = [u for u in budget.units if isinstance(u, Neurons)]
        scores = self.scores(net, neurons, calibration)
        kept = budget.choose([s / c for s, c in zip(scores, budget.costs, strict=True)], self.uniform)
        cuts = {u.block: (u, k) for u, k in zip(neurons, kept, strict=True) if len(k) < u.count}
        if self.repair == "none":
            for unit, indices in cuts.values():
                unit.keep(indices)
            return Cut()
        errors = {}
        for layer in Walk(net, calibration.batches, "repair"):
            if layer.block in cuts:
                unit, indices = cuts[layer.block]
                gram = Gram()
                layer.observe({unit.reader: gram})
                errors[unit.name] = self._repaired(unit, indices, gram)
        return Cut(errors)

    def _repaired(self, unit: Neurons, kept: np.ndarray, gram: Gram) -> float:
        weight = unit.reader.weight.detach().double().cpu().numpy()
        if self.repair == "scale":
            new = weight[:, kept] * repair.scales(gram.matrix, weight, kept)
            unit.keep(kept, new)
            return repair.output_error(gram.matrix, weight, kept, new)
        added = repair.shift(gram.mean, weight, kept)
        unit.keep(kept)
        with torch.no_grad():
            unit.reader.bias.add_(torch.as_tensor(added).to(unit.reader.bias))
        centred = gram.matrix - gram.count * np.outer(gram.mean, gram.mean)
        return repair.output_error(centred, weight, kept, weight[:, kept])


__all__ = ["Calibration", "Cut", "NeuronPruning", "ShrinkSystem"]
