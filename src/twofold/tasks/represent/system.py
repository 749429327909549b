"""Systems that learn from texts by filling in hidden tokens. A system adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.data.tokenizers import train_bpe
from twofold.objectives import IGNORED, Loss, mask_tokens, masked
from twofold.parts import Part, SequenceModel
from twofold.tasks.backbone_names import SHORTEST
from twofold.tasks.language.data import LanguageData
from twofold.tasks.model import Model
from twofold.tasks.represent.data import PackedWindows, WindowBatch
from twofold.tasks.represent.model import MaskedModel
from twofold.tasks.system import BYTES, TrainedSystem, try_on_meta
from twofold.training import Recipe


def fill_in(net: SequenceModel, batch: WindowBatch, rate: float) -> Loss:
    """Masked language modelling of one batch, averaged over hidden tokens; the head sees their rows alone."""
    hidden, labels = mask_tokens(batch.ids, rate, **batch.hide.arguments())
    asked = labels != IGNORED
    return masked(net.apply_head(net.states(hidden, batch.mask)[asked]), labels[asked])


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MaskedSystem(TrainedSystem):
    """What every masked language model is told: its tokens, its windows, and how it is trained."""

    vocab: int = Field(2048, ge=300, description="pieces of the tokenizer, learned from the text")
    length: int = Field(64, ge=SHORTEST, description="context in tokens")
    batch: int = Field(32, ge=1, description="windows in a batch")
    mask_rate: float = Field(0.3, gt=0, le=1, description="share of tokens that are hidden")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")

    @abstractmethod
    def network(self, vocab: int) -> SequenceModel:
        """The network with its masked-language-model head, with fresh weights."""

    def check(self) -> None:
        try_on_meta(lambda: self.network(BYTES))

    def serves(self, data: Any) -> str | None:
        reason = data.shorter_than(self.length, pieces=True) if isinstance(data, LanguageData) else None
        return reason or super().serves(data)

    def start(self, data: LanguageData, seed: int) -> Model:
        tokenizer = train_bpe(data.part("train"), self.vocab)
        torch.manual_seed(seed)
        return MaskedModel(self.network(tokenizer.vocab_size), tokenizer, {"length": self.length})

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        assert model.tokenizer is not None
        return PackedWindows(model.tokenizer, data.part("train"), self.length, self.batch, seed)

    def loss(self, net: Part, batch: WindowBatch) -> Loss:
        assert isinstance(net, SequenceModel)
        return fill_in(net, batch, self.mask_rate)

    def recipe(self) -> Recipe:
        """StableAdamW without clipping on a trapezoid, for every trunk alike."""
        return Recipe(
            lr=self.lr,
            betas=(0.9, 0.98),
            eps=1e-6,
            weight_decay=1e-5,
            clip=0.0,
            final=0.0,
            optimizer="stable-adamw",
            schedule="trapezoid",
            dtype=computing.dtype(),
        )

    def small(self) -> Self:
        return replace(self, vocab=320, length=min(self.length, 32), batch=min(self.batch, 8), lr=5e-3)
