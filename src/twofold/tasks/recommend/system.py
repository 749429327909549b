"""Systems that recommend: networks trained on histories. A system adds its network, its batches and its loss."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Int
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import computing
from twofold.data import batches
from twofold.data.batches import Order
from twofold.errors import UserError
from twofold.parts import SequenceModel
from twofold.parts.presets import transformer
from twofold.parts.recommenders import Sequential, sequences
from twofold.tasks.model import Model
from twofold.tasks.recommend.data import RecommendData
from twofold.tasks.recommend.model import RecommendModel
from twofold.tasks.system import TrainedSystem
from twofold.training import Recipe


@dataclass(frozen=True)
class HistoryBatch:
    """Histories as tokens, and what is asked at their places: an item's number, -100 for nothing.

    Attributes:
        wrong: items that were not taken, where a loss wants some; -100 for none.
    """

    ids: Int[Tensor, "users time"]
    real: Bool[Tensor, "users time"]
    asked: Int[Tensor, "users time"]
    wrong: Int[Tensor, "users time"]

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def shard(self, rank: int, world: int) -> HistoryBatch:
        """One process's share."""
        rows = torch.arange(len(self.ids)).tensor_split(world)[rank]
        return HistoryBatch(self.ids[rows], self.real[rows], self.asked[rows], self.wrong[rows])

    def to(self, device: torch.device) -> HistoryBatch:
        """The same on another device."""
        return HistoryBatch(self.ids.to(device), self.real.to(device), self.asked.to(device), self.wrong.to(device))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RecommendSystem(TrainedSystem):
    """What every sequential recommender is told: its size, how much of a history it reads, and how it is trained."""

    width: int = Field(64, ge=4, le=1024, description="of the states")
    layers: int = Field(2, ge=1, le=48, description="blocks of attention and feed-forward part")
    heads: int = Field(2, ge=1, le=32, description="of attention")
    last: int = Field(50, ge=2, le=512, description="so many of a user's last items are read")
    batch: int = Field(64, ge=1, description="histories in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")

    @abstractmethod
    def network(self, items: int) -> Sequential:
        """The recommender over so many items."""

    def sequence_model(self, vocab: int, max_len: int, causal: bool, head: str | None) -> SequenceModel:
        """The network that reads histories: the same in every system but for its mask and its head.

        Raises:
            UserError: a width that the heads do not divide.
        """
        if self.width % self.heads:
            raise UserError(f"width={self.width} is not divided by heads={self.heads}; change one of them")
        return transformer(
            vocab,
            self.width,
            self.layers,
            self.heads,
            causal=causal,
            head=head,
            max_len=max_len,
            position="learned",
            norm="layer",
            activation="gelu",
            gate=False,
            bias=True,
        )

    def start(self, data: RecommendData, seed: int) -> Model:
        torch.manual_seed(seed)
        return RecommendModel(self.network(len(data.items)), None, {"items": list(data.items)})

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, weight_decay=0.01, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, width=16, layers=1, heads=2, last=8, batch=8)


class Histories:
    """Each step's histories: of every user what is learned from, epoch after epoch.

    Args:
        last: so many of the last items.
    """

    def __init__(self, data: RecommendData, last: int, batch: int, seed: int) -> None:
        self.sequences = sequences(data.known("train"), last)
        self.order, self.seed = Order(len(self.sequences), min(batch, len(self.sequences)), seed), seed

    def __call__(self, step: int) -> tuple[Int[Tensor, "users time"], Bool[Tensor, "users time"], torch.Generator]:
        """Tokens, which places are real, and the step's own source of chance."""
        ids, real = batches.pad([self.sequences[i] for i in self.order(step)])
        return ids, real, torch.Generator().manual_seed(self.seed * 1_000_003 + step)
