"""Windows of packed texts: full to the last token, and no text sees another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Int
from torch import Tensor

from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.objectives.masked import Tokens
from twofold.parts import Mask
from twofold.tasks.language import Windows
from twofold.tasks.language.model import start_token


def roles(tokenizer: Tokenizer) -> Tokens:
    """What hiding tokens needs to know of a tokenizer.

    Raises:
        UserError: it has no mask token.
    """
    if tokenizer.mask is None:
        raise UserError("the tokenizer has no mask token, so nothing can be hidden; use one that has")
    named = (tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.cls, tokenizer.sep)
    protect = tuple(sorted({index for index in named if index is not None}))
    return Tokens(tokenizer.mask, tokenizer.vocab_size, protect)


@dataclass(frozen=True)
class WindowBatch:
    """Windows of packed texts.

    Attributes:
        ids: `[B, T]`.
        segments: the number of each token's text within its window, `[B, T]`.
        hide: what hiding tokens needs to know of the vocabulary.
    """

    ids: Int[Tensor, "batch time"]
    segments: Int[Tensor, "batch time"]
    hide: Tokens

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    @property
    def mask(self) -> Mask:
        """Texts see only themselves, and positions start at 0 in each."""
        return Mask.segments(self.segments)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, ids=self.ids.to(device), segments=self.segments.to(device))

    def shard(self, rank: int, world: int) -> Self:
        """One process's share."""
        return replace(self, ids=self.ids[rank::world], segments=self.segments[rank::world])


class PackedWindows:
    """Batches of windows of `length` tokens, cut from all texts laid end to end; pure in the step.

    Raises:
        UserError: the texts are too short for one window.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], length: int, batch: int, seed: int) -> None:
        self._windows = Windows(tokenizer, texts, length, batch, seed)
        self._start, self._hide = start_token(tokenizer), roles(tokenizer)

    def __call__(self, step: int, progress: float) -> WindowBatch:
        return self._packed(self._windows(step, progress).ids)

    def whole(self) -> WindowBatch:
        """Every window, in the texts' order."""
        return self._packed(self._windows.windows)

    def _packed(self, ids: Tensor) -> WindowBatch:
        return WindowBatch(ids, (ids == self._start).cumsum(1), self._hide)
