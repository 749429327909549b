"""Systems that learn vectors of sentences from sentences alone, by trees that they build themselves."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.data import batches
from twofold.data.tokenizers import train_bpe
from twofold.errors import UserError
from twofold.parts import TreeEncoder
from twofold.tasks.inputs import TokenInputs
from twofold.tasks.model import Model
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.system import TrainedSystem
from twofold.training import Recipe

_ENDS = re.compile(r"(?<=[.!?])\s+")


def sentences(texts: Sequence[str]) -> list[str]:
    """The texts' sentences, each once, in order."""
    return list(dict.fromkeys(s.strip() for text in texts for s in _ENDS.split(text) if s.strip()))


@dataclass(frozen=True)
class SentenceBatch:
    """Sentences as ids, of which the real ones count."""

    inputs: TokenInputs

    @property
    def tokens(self) -> int:
        return self.inputs.tokens

    def shard(self, rank: int, world: int) -> SentenceBatch:
        """One process's share."""
        return SentenceBatch(self.inputs.rows(torch.arange(len(self.inputs.ids))[rank::world]))

    def to(self, device: torch.device) -> SentenceBatch:
        """The same on another device."""
        return SentenceBatch(self.inputs.to(device))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TreeSystem(TrainedSystem):
    """What every learner of sentence trees is told. A system adds its composition and its loss."""

    vocab: int = Field(4096, ge=300, description="pieces of the tokenizer, learned from the text")
    dim: int = Field(256, ge=8, description="width of the vectors")
    tokens: int = Field(24, ge=2, le=512, description="sentences and queries are cut here")
    batch: int = Field(128, ge=1, description="sentences in a batch")
    dropout: float = Field(0.1, ge=0, lt=1, description="on leaves, merges and messages")
    lr: float = Field(1e-3, gt=0, description="learning rate")

    @abstractmethod
    def network(self, vocab: int) -> TreeEncoder:
        """The network, with fresh weights."""

    def start(self, data: SearchData, seed: int) -> Model:
        tokenizer = train_bpe(self._sentences(data), self.vocab)
        torch.manual_seed(seed)
        spec = dict.fromkeys(("query_tokens", "document_tokens"), self.tokens)
        return EncoderModel(
            self.network(tokenizer.vocab_size), tokenizer, {**spec, "query_prefix": "", "document_prefix": ""}
        )

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, EncoderModel)
        ids = [row for row in model.tokens(self._sentences(data), "document") if row]
        order = batches.Order(len(ids), min(self.batch, len(ids)), seed)
        return lambda step, progress: SentenceBatch(TokenInputs(*batches.pad([ids[i] for i in order(step)])))

    def _sentences(self, data: SearchData) -> list[str]:
        found = sentences([data.documents[i] for i in data.pool("train")])
        if not found:
            raise UserError(f"{data.name}: there are no sentences to learn from")
        return found

    def recipe(self) -> Recipe:
        """Adam at a constant rate."""
        return Recipe(lr=self.lr, warmup=0.0, final=1.0, weight_decay=0.0, betas=(0.9, 0.999), dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, vocab=320, dim=128, tokens=12, batch=8)
