"""Search systems that learn from documents without queries first: hidden tokens, and what a system adds to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold.data import batches
from twofold.data.batches import Order
from twofold.objectives import IGNORED, Loss, info_nce, mask_tokens, masked
from twofold.objectives.masked import Tokens
from twofold.parts import Cls, Encoder, MLMHead, Part, SequenceModel, TextEncoder
from twofold.tasks import backbones
from twofold.tasks.model import Model
from twofold.tasks.options import Backbone
from twofold.tasks.represent import roles
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.system import PairBatch, PairBatches, SearchSystem
from twofold.training import Recipe


@dataclass(frozen=True)
class TextBatch:
    """Texts alone, each a row that begins with its first special token.

    Attributes:
        ids, real: `[B, T]`, padded on the right.
        hide: what hiding tokens needs to know of the vocabulary.
    """

    ids: Int[Tensor, "batch time"]
    real: Bool[Tensor, "batch time"]
    hide: Tokens

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def shard(self, rank: int, world: int) -> TextBatch:
        """One process's share."""
        return replace(self, ids=self.ids[rank::world], real=self.real[rank::world])

    def to(self, device: torch.device) -> TextBatch:
        """The same on another device."""
        return replace(self, ids=self.ids.to(device), real=self.real.to(device))


class TextBatches:
    """Batches of a model's training documents, epoch after epoch; pure in the step.

    Raises:
        UserError: a text is empty, or the tokenizer has no mask token.
    """

    def __init__(self, model: EncoderModel, texts: Sequence[str], size: int, seed: int) -> None:
        assert model.tokenizer is not None
        self.hide, self.pad = roles(model.tokenizer), model.tokenizer.pad
        self.sequences = model.tokens(texts, "document")
        self.order = Order(len(texts), min(size, len(texts)), seed)

    def __call__(self, step: int, progress: float) -> TextBatch:
        return TextBatch(*batches.pad([self.sequences[i] for i in self.order(step)], self.pad), self.hide)


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PretrainedSearch(SearchSystem):
    """A dual encoder on first states that begins by filling in hidden tokens of the training documents."""

    backbone: Backbone = Field(
        "bert-2x128", description="preset or mixer and size, reference model, checkpoint, folder, or layers as data"
    )
    tune_layers: int = Field(0, ge=0, description="top layers of a pretrained backbone that are trained; 0: all")
    document_tokens: int = Field(64, ge=2, le=512, description="documents are cut here, in both stages")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    pretrain: float = Field(0.7, ge=0, le=1, description="share of the budget that sees documents alone")
    mask_rate: float = Field(0.15, gt=0, le=1, description="share of tokens that are hidden")
    pairs: int | None = Field(None, ge=1, description="tune on so many queries, drawn by the seed; none: on all")
    temperature: float = Field(0.05, gt=0, description="of the softmax over the batch's documents")

    def network(self, chosen: backbones.Chosen) -> Encoder:
        """The encoder, with a head over the vocabulary for as long as training lasts."""
        known = chosen.head
        head = MLMHead(chosen.model.dim, chosen.model.vocab) if known is None else known
        model = SequenceModel(chosen.model.embedding, chosen.model.stack, head)
        return TextEncoder(model, Cls(), normalise=True)

    def batches(self, model: Model, data: SearchData, seed: int) -> Callable[[int, float], TextBatch | PairBatch]:
        """Documents for the first `pretrain` of the budget, pairs after it."""
        assert isinstance(model, EncoderModel)
        few = data if self.pairs is None else data.few(self.pairs, seed)
        if not self.pretrain:
            return self.pairing(model, few, seed)
        texts = self.texts(model, [data.documents[i] for i in data.pool("train")], seed)
        if self.pretrain == 1:
            return texts
        pairs = self.pairing(model, few, seed)

        def batch(step: int, progress: float) -> TextBatch | PairBatch:
            return texts(step, progress) if progress < self.pretrain else pairs(step, progress)

        return batch

    def texts(self, model: EncoderModel, documents: Sequence[str], seed: int) -> TextBatches:
        """Batches of the first stage."""
        return TextBatches(model, documents, self.batch, seed)

    def pairing(self, model: EncoderModel, data: SearchData, seed: int) -> PairBatches:
        """Batches of the second stage: the other documents of a batch are the wrong ones."""
        return PairBatches(self, model, data, seed)

    def loss(self, net: Part, batch: TextBatch | PairBatch) -> Loss:
        """Texts: what pre-training asks; pairs: the softmax over the batch."""
        assert isinstance(net, Encoder)
        if isinstance(batch, TextBatch):
            return self.pretraining(net, batch)
        return info_nce(
            batch.queries.embed(net.tower("query")),
            batch.documents.embed(net.tower("document")),
            self.temperature,
            two_way=False,
            query_ids=batch.query_ids,
            document_ids=batch.document_ids,
        )

    def pretraining(self, net: Encoder, batch: TextBatch) -> Loss:
        """The loss on texts alone: here hidden tokens."""
        return self.filled(net, batch)[0]

    def filled(self, net: Encoder, batch: TextBatch) -> tuple[Loss, Float[Tensor, "batch dim"]]:
        """Masked language modelling, and the first state of each text as it was read, with its tokens hidden."""
        model = net.tower("document").model
        hidden, labels = mask_tokens(batch.ids, self.mask_rate, real=batch.real, **batch.hide.arguments())
        states = model.states(hidden, batch.real)
        asked = labels != IGNORED
        return masked(model.apply_head(states[asked]), labels[asked]), states[:, 0]

    def finish(self, model: Model) -> None:
        assert isinstance(model, EncoderModel)
        model.net.tower("document").model.head = None

    def recipe(self) -> Recipe:
        """The rate stays where it is until the last fifth: the second stage begins with the first one's."""
        return replace(super().recipe(), schedule="trapezoid", final=0.0)

    def small(self) -> Self:
        small = super().small()
        return replace(small, pairs=None, pretrain=min(self.pretrain, 0.7))


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PretrainedRetriever(PretrainedSearch):
    """The same with hard negatives in the second stage."""

    negatives: int = Field(1, ge=0, description="hard negatives a query, beside the other documents of the batch")

    def pairing(self, model: EncoderModel, data: SearchData, seed: int) -> PairBatches:
        hard_after = 0.0 if self.negatives else 1.0
        return PairBatches(self, model, data, seed, hard_after=hard_after, hard=max(1, self.negatives))
