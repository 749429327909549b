"""Search systems: dual encoders trained on pairs. A system adds its network's head, its batches and its loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.data.batches import Order
from twofold.errors import UserError
from twofold.parts import CountTerms, Encoder, SequenceModel
from twofold.parts.encoders import Side
from twofold.tasks import backbones
from twofold.tasks.inputs import Inputs, StateStore, TokenStore, freeze, store
from twofold.tasks.model import Model
from twofold.tasks.options import Backbone
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.lexical import hard_negatives
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.system import TrainedSystem
from twofold.training import Recipe

SIDES: tuple[Side, Side] = ("query", "document")
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class PairBatch:
    """Queries with documents: the first `len(query_ids)` documents answer the queries in order.

    The documents after those are hard negatives; `owners` names the row of the query each was found for.
    """

    queries: Inputs
    documents: Inputs
    query_ids: torch.Tensor
    document_ids: torch.Tensor
    owners: torch.Tensor

    @property
    def tokens(self) -> int:
        return self.queries.tokens + self.documents.tokens

    def shard(self, rank: int, world: int) -> PairBatch:
        """One process's share: its queries with their documents and their hard negatives."""
        pairs = torch.arange(len(self.query_ids)).tensor_split(world)[rank]
        hard = torch.isin(self.owners, pairs).nonzero()[:, 0]
        mine = torch.cat([pairs, len(self.query_ids) + hard])
        ids = self.query_ids[pairs], self.document_ids[mine], self.owners[hard] - pairs[:1]
        return PairBatch(self.queries.rows(pairs), self.documents.rows(mine), *ids)

    def to(self, device: torch.device) -> PairBatch:
        """The same on another device."""
        ids = self.query_ids.to(device), self.document_ids.to(device), self.owners.to(device)
        return PairBatch(self.queries.to(device), self.documents.to(device), *ids)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SearchSystem(TrainedSystem):
    """What every dual encoder is told: its backbone, how long texts may be, and how it is trained."""

    backbone: Backbone = Field(
        "minilm", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    tune_layers: int = Field(2, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    query_tokens: int = Field(24, ge=2, le=512, description="queries are cut here")
    document_tokens: int = Field(96, ge=2, le=512, description="documents are cut here")
    batch: int = Field(32, ge=2, description="pairs in a batch")
    lr: float = Field(1e-4, gt=0, description="highest learning rate")

    def head(self, backbone: SequenceModel) -> Encoder:
        """The encoder around a backbone."""
        raise UserError(f"{type(self).__name__} defines no head")

    def network(self, chosen: backbones.Chosen) -> Encoder:
        """The network before training; a system that needs more than the backbone's layers overrides it."""
        return self.head(chosen.model)

    @property
    def longest(self) -> int:
        """The longest input of the network, in tokens."""
        return max(self.query_tokens, self.document_tokens)

    def check(self) -> None:
        net = backbones.check(self.backbone, self.longest, self.batch * self.longest)
        if net is not None:
            self.suits(net)

    def suits(self, backbone: SequenceModel) -> None:
        """Refuses a backbone that cannot be trained so (UserError): what `head` does not find out."""

    def start(self, data: SearchData, seed: int) -> Model:
        texts = [data.documents[i] for i in data.pool("train")] + [data.queries[i] for i in data.asked("train")]
        batch_tokens = self.batch * self.longest
        chosen = backbones.choose(self.backbone, texts, seed, max_len=self.longest, batch_tokens=batch_tokens)
        self.suits(chosen.model)
        torch.manual_seed(seed)
        net = self.network(chosen)
        for tower in map(net.tower, SIDES):
            if not isinstance(tower, CountTerms):  # it has no network
                freeze(tower.model, self.tune_layers if chosen.pretrained else 0, str(self.backbone))
        spec = {
            "query_tokens": self.query_tokens,
            "document_tokens": self.document_tokens,
            "query_prefix": "",
            "document_prefix": "",
        }
        return EncoderModel(net, chosen.tokenizer, spec, notes=dict(chosen.notes))

    def small(self) -> Self:
        return replace(self, backbone="t5-1x32", query_tokens=8, document_tokens=16, batch=8, lr=1e-3)

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], Any]:
        return PairBatches(self, model, data, seed)


class PairBatches:
    """In-batch pairs; past `hard_after` of the budget each query also brings hard negatives.

    Args:
        hard_after: the share of the budget from which on they come.
        hard: how many a query, found by BM25 or judged in the data;
            or those that were found already, query index to document indices.
    """

    def __init__(
        self,
        system: SearchSystem,
        model: Model,
        data: SearchData,
        seed: int,
        hard_after: float = 1.0,
        hard: int | Mapping[int, np.ndarray] = 1,
    ) -> None:
        assert isinstance(model, EncoderModel)
        self.data, self.hard_after, self.seed = data, hard_after, seed
        self.pairs = data.pairs
        size = min(system.batch, len(self.pairs))
        self.order = Order(len(self.pairs), size, seed)
        self.negatives: Mapping[int, np.ndarray] = {}
        if hard_after < 1:
            self.negatives = hard_negatives(data, hard) if isinstance(hard, int) else hard
        self.queries, self.query_row = _store(model, data.queries, np.unique(self.pairs[:, 0]), "query")
        self.documents, self.document_row = _store(model, data.documents, data.pool("train"), "document")

    def __call__(self, step: int, progress: float) -> PairBatch:
        pairs = self.pairs[self.order(step)]
        queries, documents = pairs[:, 0], pairs[:, 1]
        mined = self.wrong(queries, step, progress)
        owners = np.repeat(np.arange(len(queries)), [len(found) for found in mined])
        documents = np.concatenate([documents, *mined])
        return PairBatch(
            self.queries.take([self.query_row[q] for q in queries]),
            self.documents.take([self.document_row[d] for d in documents]),
            torch.from_numpy(queries),
            torch.from_numpy(documents),
            torch.from_numpy(owners),
        )

    def wrong(self, queries: np.ndarray, step: int, progress: float) -> list[np.ndarray]:
        """Documents that each query of a step brings as its negatives."""
        return [self.negatives.get(int(q), _NONE) if progress >= self.hard_after else _NONE for q in queries]


class Triples(PairBatches):
    """Pairs, each with one document of the training part that chance takes anew at every step; never an answer."""

    def wrong(self, queries: np.ndarray, step: int, progress: float) -> list[np.ndarray]:
        random = np.random.default_rng((self.seed, step))
        pool = self.data.pool("train")
        found = []
        for query in queries:
            drawn = random.permutation(len(pool))[: len(self.data.relevant[query]) + 1]
            found.append(np.array([next(d for d in pool[drawn] if d not in self.data.relevant[query])]))
        return found


def _store(
    model: EncoderModel, texts: Sequence[str], indices: np.ndarray, side: Side
) -> tuple[TokenStore | StateStore, dict[int, int]]:
    """Texts made ready for training, and the row of each."""
    sequences = model.tokens([texts[i] for i in indices], side)
    rows = {int(i): n for n, i in enumerate(indices)}
    return store(
        model.net.tower(side), sequences, (model.tokenizer.pad if model.tokenizer is not None else 0) or 0
    ), rows
