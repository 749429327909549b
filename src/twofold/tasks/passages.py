"""Passages of a person's texts, and the states that a model has in them: what studies of trained models begin with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twofold.data import Rows, batches, read, split
from twofold.data.cache import digest
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel, presets, sequence_model
from twofold.parts.trace import states
from twofold.surgery import Recording, record
from twofold.tasks.calibration import texts_of
from twofold.tasks.examples import small_rows
from twofold.tasks.language import LanguageModel
from twofold.tasks.model import Model
from twofold.tasks.registry import task

_TOKENS = 1024  # in a batch


@dataclass(frozen=True)
class Subject:
    """A model whose states are studied.

    Attributes:
        model: as it was given.
        net: its sequence model.
        causal: whether a token sees only those before it.
    """

    model: Model
    net: SequenceModel
    causal: bool

    @classmethod
    def of(cls, model: Model) -> Subject:
        """What there is to study in a model.

        Raises:
            UserError: it is no sequence model over text.
        """
        net = sequence_model(model.net)
        if net is None or model.tokenizer is None:
            raise UserError(f"{model.name} is no sequence model over text, so there are no states of tokens to look at")
        return cls(model, net.eval(), isinstance(model, LanguageModel))

    def mask(self, real: Tensor) -> Mask:
        """What the network is run with."""
        padding = Mask.padding(real)
        return padding & Mask.causal() if self.causal else padding

    def run(self, ids: Tensor, real: Tensor) -> Tensor:
        """States `[B, T, D]` after the final norm."""
        return self.net.states(ids, self.mask(real))

    def passages(self, texts: Sequence[str], length: int, seed: int = 0) -> list[list[int]]:
        """Texts cut into passages of at most `length` tokens, in random order, whole ones first.

        For a language model each begins with the start token; for an encoder it has the tokenizer's own special
        tokens around it, and what is too long is cut off. A passage has at least two tokens.
        """
        tokenizer = self.model.tokenizer
        assert tokenizer is not None
        if isinstance(self.model, LanguageModel):
            start, room = self.model.start, length - 1
            pieces = [
                [start, *ids[begin : begin + room]]
                for ids in self.model.tokens(texts)
                for begin in range(0, len(ids), room)
            ]
        else:
            pieces = tokenizer.encode([text[: 32 * length] for text in texts], max_len=length)
        usable = [piece for piece in pieces if len(piece) > 1]
        order = np.random.default_rng(seed).permutation(len(usable))
        return sorted((usable[i] for i in order), key=lambda piece: len(piece) < length)

    def batches(self, sequences: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
        """Padded batches of passages, like lengths together."""
        assert self.model.tokenizer is not None
        pad = self.model.tokenizer.pad or 0
        groups = batches.buckets([len(s) for s in sequences], _TOKENS)
        return [batches.pad([sequences[i] for i in group], pad) for group in groups]

    def fingerprint(self) -> str:
        """Differs between networks that differ in anything."""
        tensors = (
            digest(name, t.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            for name, t in self.net.tensors().items()
        )
        return digest(json.dumps(self.net.spec(), sort_keys=True), str(self.causal), *tensors)


def subject(model: Model | None, rows: Rows | None) -> tuple[Subject, Rows]:
    """The model and the split rows of a study; where no model is given, a small random one on made-up rows.

    Raises:
        UserError: the model has no states of tokens, or a part of the rows is empty.
    """
    chosen = small_language_model() if model is None else model
    if rows is None:
        rows = small_rows() if model is None else read(task(chosen.task).default_data)
    return Subject.of(chosen), rows if rows.splits is not None else split(rows)


def small_language_model(seed: int = 0) -> LanguageModel:
    """A random three-layer decoder over bytes, width 16."""
    tokenizer = ByteTokenizer()
    torch.manual_seed(seed)
    net = presets.decoder(tokenizer.vocab_size, dim=16, layers=3, heads=2)
    return LanguageModel(net.eval(), tokenizer, {"length": 64})


def part_of(rows: Rows, name: str) -> list[str]:
    """The texts of one part.

    Raises:
        UserError: it has none.
    """
    part = rows.part(name)
    if not len(part):
        raise UserError(f"{rows.source}: no {name} texts; give more rows, or a split column with {name} rows")
    return texts_of(part)


@dataclass(frozen=True)
class Recorded:
    """The residual stream of a model at random positions of unseen and of other texts.

    Attributes:
        layers: the layers that were recorded: 0 is what the first block takes, L what the last one gives.
        fit, test: from the training and the test part; more positions than are used at a time.
        passages: the passages of either part, by "train" and "test".
    """

    layers: tuple[int, ...]
    fit: Recording
    test: Recording
    passages: dict[str, list[list[int]]]

    def draw(self, fit: int, test: int, seed: int) -> tuple[Recording, Recording]:
        """At most so many positions of each, of whole passages in a random order."""
        return _draw(self.fit, fit, seed), _draw(self.test, test, seed)


_POOL = 1.25
_kept: dict[str, Recorded] = {}


def recorded(who: Subject, rows: Rows, *, fit: int, test: int, positions: int, length: int, every: int = 1) -> Recorded:
    """The residual stream of every `every`-th layer and the last; the latest recording is kept for the next call.

    Recorded are a quarter more positions than asked for, so that repeats can draw different ones.

    Args:
        who: the model.
        rows: with parts; `fit` positions come from the training part, `test` from the test part.
        positions: from each passage at most so many, its first token left out.
        length: of a passage, in tokens.
        every: distance between layers.
    """
    taps = states(who.net)
    layers = tuple(sorted({*range(0, len(taps), every), len(taps) - 1}))
    sequences = {
        part: _until(who.passages(part_of(rows, part), length), round(_POOL * wanted), positions)
        for part, wanted in (("train", fit), ("test", test))
    }
    key = digest(who.fingerprint(), json.dumps(sequences), str((positions, layers)))
    if key not in _kept:
        _kept.clear()
        found = {
            part: record(who.net, who.run, who.batches(chosen), [taps[i] for i in layers], positions)
            for part, chosen in sequences.items()
        }
        _kept[key] = Recorded(layers, found["train"], found["test"], sequences)
    return _kept[key]


def _until(sequences: list[list[int]], wanted: int, positions: int) -> list[list[int]]:
    """The first passages that have so many positions together."""
    total = np.cumsum([min(positions, len(s) - 1) for s in sequences])
    return sequences[: int(np.searchsorted(total, wanted)) + 1]


def _draw(pool: Recording, wanted: int, seed: int) -> Recording:
    passages = np.unique(pool.rows)
    rank = np.empty(passages.max() + 1, np.int64)
    rank[np.random.default_rng(seed).permutation(passages)] = np.arange(len(passages))
    order = np.argsort(rank[pool.rows], kind="stable")
    return pool.take(np.sort(order[:wanted]))
