"""Systems whose network is a causal stack: language models that can also be set to problems with known answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Part, Pattern, SequenceModel
from twofold.tasks.backbone_names import SHORTEST
from twofold.tasks.language import LanguageData, LanguageSystem, TokenBatch
from twofold.tasks.model import Model
from twofold.tasks.solve import MadeData, SolveData
from twofold.tasks.solve.system import solver, solver_batches, solver_loss
from twofold.tasks.system import BYTES, try_on_meta

_ANY = 65_536
"""A length at which nothing is refused for being longer than the text."""


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SequenceSystem(LanguageSystem):
    """What every causal stack is told. A system adds its pattern of layers.

    It learns whatever the data ask for: the next token of texts, the answers of `algorithms:copy` and the like, or
    the labels of `mqar` and the like. Texts are read in windows of `length` tokens; made sequences have a length of
    their own, and problems are read whole, however short `length` is.
    """

    length: int = Field(
        256,
        ge=SHORTEST,
        description="tokens in a window of text; made sequences and problems are as long as they are",
    )
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
        return self.pattern().network(vocab, causal=True, max_len=self.length, tokens=self.batch * self.length)

    def reading(self, data: Any) -> Self:
        """The same with the length that inputs from `data` have, where these have one."""
        if isinstance(data, MadeData):
            return self.changed(length=max(SHORTEST, data.length))
        if isinstance(data, SolveData):
            return self.changed(length=max(self.length, data.length))
        return self

    def check(self) -> None:
        try:
            try_on_meta(lambda: self.changed(length=max(self.length, _ANY)).network(BYTES))
        except UserError:
            try_on_meta(lambda: self.network(BYTES))  # refused too, it says what fits windows of text
            raise

    def serves(self, data: Any) -> str | None:
        if reason := super().serves(data):
            return reason
        try:
            try_on_meta(lambda: self.reading(data).network(BYTES))
        except UserError as error:
            return str(error)
        return None

    def start(self, data: Any, seed: int) -> Model:  # type: ignore[override]
        if isinstance(data, LanguageData):
            return super().start(data, seed)
        return solver(self.reading(data).network, data, seed)

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        if isinstance(data, LanguageData):
            return super().batches(model, data, seed)
        return solver_batches(data, self.batch, seed)

    def loss(self, net: Part, batch: Any) -> Loss:
        return super().loss(net, batch) if isinstance(batch, TokenBatch) else solver_loss(net, batch)

    def small(self) -> Self:
        return super().small().changed(dim=16 * self.heads)

    def changed(self, **options: Any) -> Self:
        """The same with other options."""
        return replace(self, **options)
