"""Systems that learn to rewrite. A system adds its tokens and sizes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options

from twofold import computing
from twofold.data import batches
from twofold.data.tokenizers import Tokenizer
from twofold.objectives import Loss
from twofold.objectives.loss import IGNORED, token_loss
from twofold.objectives.spans import corrupt_spans
from twofold.parts import EncoderDecoder, Part, t5
from twofold.tasks.model import Model
from twofold.tasks.rewrite.data import RewriteData, TextPairs
from twofold.tasks.rewrite.model import RewriteModel
from twofold.tasks.system import BYTES, TrainedSystem
from twofold.training import Recipe


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RewriteSystem(TrainedSystem):
    """What every encoder–decoder of T5's shape is told."""

    dim: int = Field(64, ge=8, description="width")
    hidden: int = Field(128, ge=1, description="width of the gated feed-forward parts")
    heads: int = Field(4, ge=1, description="attention heads")
    encoder_layers: int = Field(3, ge=1, description="blocks that read")
    decoder_layers: int = Field(1, ge=1, description="blocks that write")
    source_tokens: int = Field(128, ge=2, description="longest source, end token included")
    target_tokens: int = Field(128, ge=2, description="longest target, end token included")
    pretrain: float = Field(
        0.0, ge=0, lt=1, description="share of the budget that is first spent on filling in spans of all texts"
    )
    mean_span: float = Field(20.0, ge=1, description="tokens in a hidden span, on average")
    batch: int = Field(64, ge=1, description="pairs in a batch")
    lr: float = Field(2e-3, gt=0, description="highest learning rate")

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> Tokenizer:
        """The tokenizer, for which it may look at the training texts."""

    def assembled(self, vocab: int, start: int) -> EncoderDecoder:
        """The network, with fresh weights."""
        return t5(vocab, self.dim, self.heads, self.hidden, self.encoder_layers, self.decoder_layers, start)

    def outline(self, length: int) -> EncoderDecoder:
        return self.assembled(BYTES, 0)

    def start(self, data: RewriteData, seed: int) -> Model:
        sources, targets = data.part("train")
        tokenizer = self.tokens([*sources, *targets])
        torch.manual_seed(seed)
        spec = {"source_tokens": self.source_tokens, "target_tokens": self.target_tokens}
        return RewriteModel(self.assembled(tokenizer.vocab_size, tokenizer.pad or 0), tokenizer, spec)

    def batches(self, model: Model, data: RewriteData, seed: int) -> Callable[[int, float], Any]:
        assert isinstance(model, RewriteModel)
        sources, targets = data.part("train")
        pairs = list(zip(model.encode(sources, "source_tokens"), model.encode(targets, "target_tokens"), strict=True))
        size, pad = min(self.batch, len(pairs)), model.text.pad
        order = batches.Order(len(pairs), size, seed)
        texts = [text for pair in pairs for text in pair if len(text) > 2]
        every = batches.Order(max(1, len(texts)), min(size, max(1, len(texts))), seed)
        vocab = model.text.vocab_size
        sentinels = range(vocab - 1, vocab - 101, -1)

        def batch(step: int, progress: float) -> TextPairs:
            if progress < self.pretrain and texts:
                random = np.random.default_rng((seed, step))
                chosen = [corrupt_spans(texts[i][:-1], random, sentinels, mean=self.mean_span) for i in every(step)]
                end = texts[0][-1]
                given, wanted = [[*a, end] for a, _ in chosen], [[*b, end] for _, b in chosen]
            else:
                given, wanted = ([pairs[i][side] for i in order(step)] for side in (0, 1))
            return TextPairs(*batches.pad(given, pad), *batches.pad(wanted, pad))

        return batch

    def loss(self, net: Part, batch: TextPairs) -> Loss:
        """Cross-entropy of the target's tokens, its end included."""
        logits = net(batch.source, batch.real, batch.target)
        value = token_loss(logits.flatten(0, 1), batch.target.masked_fill(~batch.counted, IGNORED).flatten())
        return Loss(value, {"loss": value.detach()})

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, dim=32, hidden=32, encoder_layers=1, batch=16)
