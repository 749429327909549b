"""Language systems: causal networks trained on windows of text. A system adds its network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import Tensor

from twofold import computing
from twofold.data import batches
from twofold.data.tokenizers import ByteTokenizer, Tokenizer, train_bpe
from twofold.errors import UserError
from twofold.objectives import Loss, causal
from twofold.parts import Mask, Part, SequenceModel
from twofold.tasks.backbone_names import SHORTEST
from twofold.tasks.language.data import LanguageData
from twofold.tasks.language.model import LanguageModel, start_token
from twofold.tasks.model import Model
from twofold.tasks.system import BYTES, TrainedSystem, try_on_meta
from twofold.training import Recipe


@dataclass(frozen=True)
class TokenBatch:
    """Ids of whole windows, `[B, T]`; every token but the first is predicted."""

    ids: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    def to(self, device: torch.device) -> Self:
        return replace(self, ids=self.ids.to(device))

    def shard(self, rank: int, world: int) -> Self:
        return replace(self, ids=self.ids[rank::world])


class Windows:
    """Batches of `length` tokens cut from all texts laid end to end, a start token before each; pure in the step.

    Raises:
        UserError: the texts are too short for one window.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], length: int, batch: int, seed: int) -> None:
        start = start_token(tokenizer)
        stream = np.concatenate([np.array([start, *ids], np.int32) for ids in tokenizer.encode(texts, specials=False)])
        count = len(stream) // length
        if count < 1:
            raise UserError(f"the training texts have {len(stream)} tokens, a window needs {length}; give more text")
        self.windows = torch.from_numpy(stream[: count * length].reshape(count, length).astype(np.int64))
        self.order = batches.Order(count, min(batch, count), seed)

    def __call__(self, step: int, progress: float) -> TokenBatch:
        return TokenBatch(self.windows[torch.as_tensor(self.order(step))])


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LanguageSystem(TrainedSystem):
    """What every language model is told: its tokens, how long windows are, and how it is trained."""

    tokenizer: Literal["bytes", "bpe"] = Field("bytes", description="one token a byte, or pieces learned from the text")
    vocab: int = Field(4096, ge=300, description="pieces, where they are learned")
    length: int = Field(256, ge=SHORTEST, description="context in tokens")
    batch: int = Field(16, ge=1, description="windows in a batch")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")

    @abstractmethod
    def network(self, vocab: int) -> SequenceModel:
        """The network, with fresh weights."""

    def check(self) -> None:
        try_on_meta(lambda: self.network(BYTES))

    def serves(self, data: Any) -> str | None:
        reason = data.shorter_than(self.length, self.tokenizer == "bpe") if isinstance(data, LanguageData) else None
        return reason or super().serves(data)

    def start(self, data: LanguageData, seed: int) -> LanguageModel:
        tokenizer = train_bpe(data.part("train"), self.vocab) if self.tokenizer == "bpe" else ByteTokenizer()
        torch.manual_seed(seed)
        return LanguageModel(self.network(tokenizer.vocab_size), tokenizer, {"length": self.length})

    def batches(self, model: Model, data: LanguageData, seed: int) -> Callable[[int, float], TokenBatch]:
        assert isinstance(model, LanguageModel)
        return Windows(model.text, data.part("train"), self.length, self.batch, seed)

    def loss(self, net: Part, batch: TokenBatch) -> Loss:
        return causal(net(batch.ids, mask=Mask.causal()), batch.ids)

    def recipe(self) -> Recipe:
        return Recipe(lr=self.lr, dtype=computing.dtype())

    def small(self) -> Self:
        return replace(self, length=min(self.length, 32), batch=min(self.batch, 4), vocab=min(self.vocab, 320))
