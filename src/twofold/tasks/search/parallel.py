"""Encoders that are taught by sentences that say the same."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import computing
from twofold.catalog import Steps
from twofold.data.batches import Order
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Tower, TwoTowers
from twofold.tasks.inputs import Inputs, freeze, store
from twofold.tasks.model import Model
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.system import TransformSystem
from twofold.training import Recipe, train

MOST_UNKNOWN = 0.2


@dataclass(frozen=True)
class ParallelBatch:
    """Texts and the same in other words or another language, row by row."""

    texts: Inputs
    translations: Inputs

    @property
    def tokens(self) -> int:
        return self.texts.tokens + self.translations.tokens

    def shard(self, rank: int, world: int) -> ParallelBatch:
        """One process's share."""
        mine = torch.arange(len(self.texts.real)).tensor_split(world)[rank]  # type: ignore[attr-defined]
        return ParallelBatch(self.texts.rows(mine), self.translations.rows(mine))

    def to(self, device: torch.device) -> ParallelBatch:
        """The same on another device."""
        return ParallelBatch(self.texts.to(device), self.translations.to(device))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ParallelTransform(TransformSystem):
    """What an encoder is told that learns from parallel texts.

    Rows have `text` and `translation`, else `document` and `query`; where there are both, the first two count.
    """

    steps: int = Field(300, ge=0, description="of training")
    batch: int = Field(32, ge=2, description="pairs in a batch")
    lr: float = Field(3e-4, gt=0, description="highest learning rate")
    tune_layers: int = Field(2, ge=0, description="top layers that are trained; 0: all, word vectors too")
    keep_documents: bool = Field(
        False,
        description="only queries are encoded anew; documents stay with the model as it was, and so does an index",
    )

    @abstractmethod
    def loss(self, student: Tower, teacher: Tower, batch: ParallelBatch) -> Loss:
        """The loss of a batch; nothing of the teacher is trained."""

    def recipe(self) -> Recipe:
        """Without decay, so that what is right already stays."""
        return Recipe(lr=self.lr, weight_decay=0.0, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, steps=min(self.steps, 3), batch=8, tune_layers=1)

    def apply(self, model: Model, rows: Rows, *, seed: int = 0) -> Model:
        """A copy that reads both; what was indexed stays with the model that was given.

        Args:
            model: any dense encoder with one network for both sides.
            rows: parallel texts.
            seed: of the batches.

        Raises:
            UserError: another kind of model, or no such columns.
        """
        tower = model.net.tower("document") if isinstance(model, EncoderModel) else None
        if not isinstance(model, EncoderModel) or tower is None or not model.net.by_dot:
            raise UserError(f"{self.id} changes dense encoders, not {model.name}; give it one such as minilm")
        changed = model.copy()
        student, teacher = changed.net.tower("query"), tower.eval().requires_grad_(False)
        if student is not changed.net.tower("document"):
            raise UserError(f"{model.name} has a network for each side already; give a model with one for both")
        named = ("text", "translation") if "translation" in rows.columns else ("document", "query")
        rows = rows.filled(*named)
        texts, translations = (changed.tokens(rows.columns[name], "document") for name in named)
        unknown = self._unknown(changed, translations)
        freeze(student.model, self.tune_layers, model.name)
        pad = (model.tokenizer.pad if model.tokenizer is not None else 0) or 0
        stores = [store(student, sequences, pad) for sequences in (texts, translations)]
        order = Order(len(texts), min(self.batch, len(texts)), seed)

        def batch(step: int, progress: float) -> ParallelBatch:
            chosen = order(step)
            return ParallelBatch(stores[0].take(chosen), stores[1].take(chosen))

        def taught(net: Any, some: ParallelBatch) -> Loss:
            return self.loss(net, teacher, some)

        report: dict[str, Any] = {"pairs": len(texts), "unknown": unknown}
        if self.steps:
            history = train(student, taught, batch, Steps(self.steps), self.recipe(), seed=seed)
            report |= {"loss": history.curve[-1]["loss"], "steps": history.steps}
        student.requires_grad_(True).eval()
        tower.requires_grad_(True)
        if self.keep_documents:
            net = TwoTowers(student, model.copy().net.tower("document"))
            changed = type(model)(net.eval(), model.tokenizer, model.spec, model.history, model.notes)
        return changed.remember(self.id, self.options(), report)

    @staticmethod
    def _unknown(model: EncoderModel, sequences: list[list[int]]) -> float:
        """Share of pieces that the tokenizer has no name for; warns of many."""
        assert model.tokenizer is not None
        (strange,) = model.tokenizer.encode(["\u0eaf"], specials=False)
        counted = sum(map(len, sequences))
        share = sum(piece in strange for s in sequences for piece in s) / max(1, counted) if len(strange) == 1 else 0.0
        if share > MOST_UNKNOWN:
            warnings.warn(
                f"{share:.0%} of the translations' pieces are unknown to {model.name}'s tokenizer; a model with "
                "another tokenizer will learn more",
                stacklevel=3,
            )
        return round(share, 4)


def vectors(tower: Tower, inputs: Inputs) -> Tensor:
    """What a tower makes of texts, without gradient."""
    with torch.no_grad():
        return inputs.embed(tower)
