"""Systems that rerank: cross-encoders trained on lists of candidates. A system adds its network and its loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import computing
from twofold.catalog import Budget
from twofold.checkpoints import KNOWN
from twofold.data.batches import Order
from twofold.data.tokenizers import Tokenizer
from twofold.data.tokenizers.base import ROLES
from twofold.errors import UserError
from twofold.parts import CrossEncoder, OverlapEmbedding, SequenceModel
from twofold.tasks import backbones, reference
from twofold.tasks.inputs import Inputs, freeze
from twofold.tasks.model import Model
from twofold.tasks.options import Backbone
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.lexical import hard_negatives
from twofold.tasks.search.pairs import LowerStates, PairModel, Template, lower_states
from twofold.tasks.system import Fitted, TrainedSystem
from twofold.training import Recipe


@dataclass(frozen=True)
class ListBatch:
    """Lists of candidates, one a query.

    Attributes:
        pairs: each query with each of its candidates, list after list.
        grades: of the candidates; 0: no answer. 0 where there is none.
        counted: which places of a list hold a candidate.
    """

    pairs: Inputs
    grades: Float[Tensor, "queries candidates"]
    counted: Bool[Tensor, "queries candidates"]

    @property
    def tokens(self) -> int:
        return self.pairs.tokens

    def table(self, scores: Float[Tensor, "pairs"]) -> Float[Tensor, "queries candidates"]:
        """Scores of the pairs in their places; 0 elsewhere."""
        return torch.zeros(self.counted.shape, dtype=scores.dtype, device=scores.device).masked_scatter(
            self.counted, scores
        )

    def shard(self, rank: int, world: int) -> ListBatch:
        """One process's share: its queries with their candidates."""
        mine = torch.arange(len(self.counted)).tensor_split(world)[rank]
        owners = self.counted.nonzero()[:, 0]
        rows = torch.isin(owners, mine).nonzero()[:, 0]
        return ListBatch(self.pairs.rows(rows), self.grades[mine], self.counted[mine])

    def to(self, device: torch.device) -> ListBatch:
        """The same on another device."""
        return ListBatch(self.pairs.to(device), self.grades.to(device), self.counted.to(device))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RerankSystem(TrainedSystem):
    """What every cross-encoder is told: its backbone, how it reads pairs, and how it is trained."""

    by_name: ClassVar[bool] = True

    backbone: Backbone = Field(
        "minilm", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    tune_layers: int = Field(2, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    template: str = Field("Query: {query} Document: {document}", description="how query and document are joined")
    overlap: bool = Field(True, description="mark words that both texts hold, where two-way layers are trained whole")
    query_tokens: int = Field(24, ge=2, le=512, description="queries are cut here")
    document_tokens: int = Field(96, ge=2, le=4096, description="documents are cut here")
    window: int | None = Field(None, ge=1, description="sentences that are read at a time; none: the document as one")
    stride: int = Field(5, ge=1, description="sentences from one window to the next")
    depth: int = Field(100, ge=1, le=1000, description="BM25's best so many are read for a query")
    batch: int = Field(8, ge=1, description="lists in a batch")
    candidates: int = Field(8, ge=2, le=1000, description="documents in a list: what answers, and hard negatives")
    negatives: int = Field(30, ge=1, le=1000, description="hard negatives of a query, of which its lists are drawn")
    examples: int | None = Field(None, ge=1, description="learn from so many lists, drawn once by the seed; none: all")
    lr: float = Field(3e-4, gt=0, description="highest learning rate")

    @abstractmethod
    def network(self, backbone: SequenceModel, tokenizer: Tokenizer, head: Any) -> CrossEncoder:
        """The cross-encoder around a backbone; `head` is what the backbone was trained with, or None."""

    def asks(self, tokenizer: Tokenizer, causal: bool) -> tuple[int, ...]:
        """Tokens at the very end of a pair."""
        return ()

    def fit(
        self,
        data: SearchData,
        budget: Budget,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        until: float | None = None,
    ) -> Fitted:
        if self.window is not None and self.stride > self.window:
            raise UserError(f"stride={self.stride} skips sentences between windows of {self.window}; lower stride")
        return super().fit(data, budget, seed=seed, folder=folder, until=until)

    @property
    def longest(self) -> int:
        """The longest pair, in tokens, with what the template adds: at most one for each of its bytes."""
        return self.query_tokens + self.document_tokens + len(self.template.encode()) + 16

    @property
    def batch_tokens(self) -> int:
        """Tokens in a training batch, at most."""
        return self.batch * self.candidates * self.longest

    def check(self) -> None:
        backbones.check(self.backbone, self.longest, self.batch_tokens)

    def start(self, data: SearchData, seed: int) -> Model:
        texts = [data.documents[i] for i in data.pool("train")] + [data.queries[i] for i in data.asked("train")]
        chosen = backbones.choose(self.backbone, texts, seed, max_len=self.longest, batch_tokens=self.batch_tokens)
        net, tokenizer = chosen.model, chosen.tokenizer
        causal = net.stack.causal
        separator = None if causal else tokenizer.sep
        template = Template(
            self.template, self.query_tokens, self.document_tokens, separator, self.asks(tokenizer, causal)
        )
        tuned = self.tune_layers if chosen.pretrained else 0
        torch.manual_seed(seed)
        if self.overlap and separator is not None and not tuned:
            silent = sorted({id for id in (getattr(tokenizer, role) for role in ROLES) if id is not None})
            net = SequenceModel(OverlapEmbedding(net.embedding, separator, silent), net.stack)
        made = self.network(net, tokenizer, chosen.head)
        freeze(made.model, tuned, str(self.backbone))
        spec = {"pairs": template.spec(), "depth": self.depth, "window": self.window, "stride": self.stride}
        model = PairModel(made, tokenizer, spec, notes=dict(chosen.notes))
        if tuned:
            layers = len(net.stack.layers) - tuned
            fixed = str(self.backbone) in (*KNOWN, *reference.NAMES)
            number = seed if self.backbone in reference.NAMES else 0
            model.lower = lower_states(str(self.backbone), number, layers) if fixed else LowerStates(layers)
        return model

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], ListBatch]:
        assert isinstance(model, PairModel)
        return ListBatches(self, model, data, seed)

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(
            self, backbone="t5-1x32", query_tokens=8, document_tokens=16, depth=10, batch=4, candidates=3, lr=3e-3
        )


class ListBatches:
    """Lists drawn for each step: a query's answers, and hard negatives that BM25 finds or the data names.

    With `examples`, each query has one list, drawn once. At least one place of a list is a negative's; of more
    answers than fit, chance takes some. Queries for which there is no negative are left out.

    Raises:
        UserError: no query has a negative, or fewer have one than are asked for.
    """

    def __init__(self, system: RerankSystem, model: PairModel, data: SearchData, seed: int) -> None:
        assert model.tokenizer is not None
        self.system, self.model, self.data, self.seed = system, model, data, seed
        wrong = hard_negatives(data, max(system.negatives, system.candidates - 1), depth=2 * system.negatives + 20)
        asked = np.array(sorted(wrong), dtype=np.int64)
        if not len(asked):
            raise UserError(f"{data.name}: no query has a document that looks like an answer and is none; give more")
        if system.examples is not None:
            if system.examples > len(asked):
                raise UserError(f"examples={system.examples}, but {data.name} has {len(asked)} queries with negatives")
            asked = np.sort(np.random.default_rng(seed).permutation(asked)[: system.examples])
        self.asked, self.wrong = asked, wrong
        self.order = Order(len(asked), min(system.batch, len(asked)), seed)

    def __call__(self, step: int, progress: float) -> ListBatch:
        steps = np.random.default_rng((self.seed, step))
        once = self.system.examples is not None
        size = self.system.candidates
        queries, documents = [], []
        grades, counted = torch.zeros(0, size), torch.zeros(0, size, dtype=torch.bool)
        for query in self.asked[self.order(step)]:
            random = np.random.default_rng((self.seed, int(query))) if once else steps
            relevant = self.data.relevant[query]
            right = random.permutation(sorted(relevant))[: size - 1]
            wrong = random.permutation(self.wrong[int(query)])[: size - len(right)]
            listed = [int(d) for d in (*right, *wrong)]
            queries += [self.data.queries[query]] * len(listed)
            documents += [self.data.documents[d] for d in listed]
            row = torch.zeros(1, size)
            row[0, : len(right)] = torch.tensor([float(relevant[int(d)]) for d in right])
            grades = torch.cat([grades, row])
            counted = torch.cat([counted, (torch.arange(size) < len(listed))[None]])
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        sequences = self.model.template.join(tokenizer, queries, documents)
        lower = self.model.lower or LowerStates(0)
        return ListBatch(lower.inputs(self.model.net, sequences, tokenizer.pad or 0), grades, counted)
