"""Systems whose network is a causal stack: language models that can also be set to problems with known answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold.objectives import Loss
from twofold.parts import Part, Pattern, SequenceModel
from twofold.tasks.language import LanguageData, LanguageSystem
from twofold.tasks.model import Model
from twofold.tasks.solve import LabelData, Packed, SolveBatch, SolveData, SolveModel, solve_loss
from twofold.tasks.solve.labelled import LabelBatch


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SequenceSystem(LanguageSystem):
    """What every causal stack is told. A system adds its pattern of layers.

    It learns whatever the data ask for: the next token of texts, the answers of `algorithms:copy` and the like, or
    the labels of `mqar` and the like.
    """

    dim: int = Field(128, ge=8, description="width")
    layers: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    conv: int = Field(
        0,
        ge=0,
        le=64,
        description="width of a causal convolution that every mixer reads through (3 for recall); 0: none",
    )

    @abstractmethod
    def pattern(self) -> Pattern:
        """Which parts stand in which layer."""

    def network(self, vocab: int) -> SequenceModel:
        return self.pattern().network(vocab, causal=True, max_len=self.length)

    def start(self, data: Any, seed: int) -> Model:  # type: ignore[override]
        if isinstance(data, LanguageData):
            return super().start(data, seed)
        torch.manual_seed(seed)
        if isinstance(data, LabelData):
            return data.model(self.network(data.vocab))
        assert isinstance(data, SolveData)
        return SolveModel(self.network(len(data.names)), None, {"names": list(data.names), "marker": data.marker})

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        if isinstance(data, LabelData):
            return data.batches(self.batch, seed)
        if isinstance(data, SolveData):
            return Packed(data.train, min(self.batch, len(data.train)), seed)
        return super().batches(model, data, seed)

    def loss(self, net: Part, batch: Any) -> Loss:
        if isinstance(batch, LabelBatch):
            return batch.loss(net)
        return solve_loss(net, batch) if isinstance(batch, SolveBatch) else super().loss(net, batch)

    def small(self) -> Self:
        return super().small().changed(dim=16 * self.heads)

    def changed(self, **options: Any) -> Self:
        """The same with other options."""
        return replace(self, **options)
