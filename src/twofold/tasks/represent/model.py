"""Two-way networks that fill in hidden tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from twofold import computing, progress
from twofold.data import batches
from twofold.data.tokenizers import SubwordTokenizer, Tokenizer
from twofold.errors import UserError
from twofold.objectives import mask_tokens
from twofold.objectives.loss import IGNORED
from twofold.parts import Mean, SequenceModel
from twofold.tasks.model import Model
from twofold.tasks.represent.data import PackedWindows, WindowBatch, roles

if TYPE_CHECKING:
    from twofold.tasks.search.vectors import Dense

_WINDOWS = 64  # at a time


@dataclass(frozen=True)
class Filled:
    """Hidden tokens of many windows: how many were asked for, how many came out right, and nats; `[n]` each."""

    asked: np.ndarray
    right: np.ndarray
    nats: np.ndarray


class MaskedModel(Model):
    """A two-way network over text with a masked-language-model head. The setting `length` is its context, in tokens."""

    task: ClassVar[str] = "represent"

    @property
    def sequence(self) -> SequenceModel:
        """The network."""
        assert isinstance(self.net, SequenceModel)
        return self.net

    @property
    def text(self) -> Tokenizer:
        """The tokenizer."""
        assert self.tokenizer is not None
        return self.tokenizer

    @property
    def length(self) -> int:
        """The longest text, in tokens."""
        return int(self.spec["length"])

    @torch.inference_mode()
    def filled(self, texts: Sequence[str], rate: float, seed: int = 0) -> Filled:
        """How well tokens of packed texts are filled in; the same ones are hidden for every model of this tokenizer.

        Args:
            texts: laid end to end and cut into windows of `length`.
            rate: share of tokens that are hidden, as in training: 80 % masked, 10 % random, 10 % left.
            seed: of the choice.

        Raises:
            UserError: too few texts for one window.
        """
        every = PackedWindows(self.text, texts, self.length, 1, 0).whole()
        generator = torch.Generator().manual_seed(seed)
        hidden, labels = mask_tokens(every.ids, rate, generator, **every.hide.arguments())
        asked = labels != IGNORED
        right, nats = torch.zeros(len(labels)), torch.zeros(len(labels))
        net = self.sequence.eval()
        with progress.stage(f"fill in {len(labels):,} windows", total=len(labels)) as stage:
            for some in torch.arange(len(labels)).split(_WINDOWS):
                batch = WindowBatch(hidden[some], every.segments[some], every.hide).to(self.device)
                rows = asked[some]
                states = net.states(batch.ids, batch.mask)[rows.to(self.device)]
                logits, targets = net.apply_head(states).float().cpu(), labels[some][rows]
                row = some[rows.nonzero()[:, 0]]
                right.index_add_(0, row, (logits.argmax(-1) == targets).float())
                nats.index_add_(0, row, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
                stage.advance(len(some))
        return Filled(asked.sum(1).numpy(), right.numpy(), nats.numpy())

    def encode(self, texts: str | Sequence[str], *, truncate: bool = False, side: str = "document") -> Dense:
        """The mean of each text's states, `[n, D]`.

        Args:
            texts: one or many.
            truncate: cut texts at the context; else a longer one is refused.
            side: as search models have it; both are the same here.

        Raises:
            UserError: a text is empty or too long; names it.
        """
        from twofold.tasks.search.vectors import (
            Dense,  # late: search starts from reference models, which are of this kind
        )

        many = [texts] if isinstance(texts, str) else list(texts)
        sequences = self._ids(many, truncate)
        found: Float[Tensor, "n dim"] = torch.zeros(len(many), self.sequence.dim)
        pool, net = Mean(), self.sequence.eval()
        for group in batches.buckets([len(ids) for ids in sequences]):
            ids, real = batches.pad([sequences[i] for i in group], self.text.pad)
            with computing.inference():
                states = net.states(ids.to(self.device), real.to(self.device))
                found[group] = pool(states, real.to(self.device)).float().cpu()
        return Dense(found)

    def token_states(self, texts: str | Sequence[str], *, truncate: bool = False) -> list[Tensor]:
        """The states of each text's tokens, special ones included: `[L, D]` each. As `encode` otherwise."""
        many = [texts] if isinstance(texts, str) else list(texts)
        net = self.sequence.eval()
        with computing.inference():
            return [
                net.states(torch.tensor([ids], device=self.device))[0].float().cpu()
                for ids in self._ids(many, truncate)
            ]

    @torch.inference_mode()
    def fill(self, text: str, k: int = 5) -> list[list[tuple[str, float]]]:
        """For each mask of a text (spelled as the tokenizer spells it, such as `[MASK]`), the `k` likeliest tokens.

        Raises:
            UserError: the text has no mask, or is too long.
        """
        hide = roles(self.text)
        named = self.text.tokens()["mask"] if isinstance(self.text, SubwordTokenizer) else None
        spelled = named or "[MASK]"
        pieces = text.split(spelled)
        if len(pieces) < 2:
            raise UserError(f"the text has no {spelled} to fill in; put one where a token is missing")
        encoded = [self.text.encode([piece], specials=False)[0] if piece else [] for piece in pieces]
        inner = [token for piece in encoded for token in (*piece, hide.mask)][:-1]
        ids = self._fitting([[start for start in (self.text.cls,) if start is not None] + inner], [text], False)[0]
        logits = self.sequence.eval()(torch.tensor([ids], device=self.device))[0].float().cpu()
        best = logits[[place for place, token in enumerate(ids) if token == hide.mask]].softmax(-1).topk(k)
        return [
            [(self.text.decode([int(i)]), float(p)) for i, p in zip(row, chances, strict=True)]
            for row, chances in zip(best.indices, best.values, strict=True)
        ]

    def _ids(self, texts: Sequence[str], truncate: bool) -> list[list[int]]:
        empty = next((number for number, text in enumerate(texts, 1) if not text.strip()), None)
        if empty is not None or not texts:
            raise UserError(f"text {empty} is empty; leave it out" if texts else "there is no text to encode")
        return self._fitting(self.text.encode(texts), texts, truncate)

    def _fitting(self, ids: list[list[int]], texts: Sequence[str], truncate: bool) -> list[list[int]]:
        for number, row in enumerate(ids, 1):
            if len(row) > self.length and not truncate:
                raise UserError(
                    f"text {number} has {len(row)} tokens and max_length is {self.length}; give truncate=True to cut "
                    "it there, or a shorter text"
                )
        return [row[: self.length] for row in ids]
