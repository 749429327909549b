"""Comments and code for one network in three modes: it reads both ways, writes, or reads and then writes.

Guo et al. 2022, https://arxiv.org/abs/2203.03850
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from twofold.data import batches
from twofold.data.batches import Order
from twofold.data.python_trees import MARKS, flatten, pruned, tree_of
from twofold.data.tokenizers.subword import SubwordTokenizer
from twofold.errors import UserError
from twofold.objectives import hide_spans
from twofold.objectives.masked import Tokens
from twofold.parts import Mask, Mixer, SequenceModel
from twofold.parts.named import kebab
from twofold.tasks.represent import roles
from twofold.tasks.search.data import SearchData
from twofold.tasks.search.model import EncoderModel
from twofold.tasks.search.terms import around

MODES = ("<encoder-only>", "<decoder-only>", "<encoder-decoder>")
SENTINELS = tuple(f"<span-{n}>" for n in range(32))
Name = Literal["masked", "causal", "denoise", "contrast", "comment"]
LOSSES: tuple[Name, ...] = ("masked", "causal", "denoise", "contrast", "comment")
WRITTEN: tuple[Name, ...] = ("causal", "denoise", "comment")
"""Losses by which each token is predicted from those before it."""


def mode_mask(mode: str, source: Int[Tensor, "batch"] | None = None) -> Mask:
    """Who sees whom: all see all; each what came before; or a source both ways and behind it each what came before.

    Args:
        mode: one of `MODES`.
        source: for the last one, how many tokens each source has, `[B]`, the mode's own token counted.
    """
    if mode == MODES[0]:
        return Mask.bidirectional()
    if mode == MODES[1]:
        return Mask.causal()
    if mode != MODES[2] or source is None:
        raise UserError(f"mode {mode!r} is none of {', '.join(MODES)}, or lacks its source's length")
    return Mask.prefix(source)


def longest_row(losses: Sequence[Name], comment: int, code: int, rate: float) -> int:
    """Tokens of the longest row that the losses ask for, with the mode, the sentinels and what is written behind it.

    Args:
        comment, code, rate: as `CodeBatches` has them.
    """
    spans = min(len(SENTINELS), max(1, round(rate * code)))
    behind = {"comment": comment, "denoise": 2 * spans + 1}  # a sentinel stands for each span and before it
    return max(comment, code + max(behind.get(loss, 0) for loss in losses))


def check_modes(net: SequenceModel, losses: Sequence[Name], longest: int) -> None:
    """Refuses a backbone that cannot be run in every mode that the losses need.

    Args:
        net: with or without weights.
        longest: tokens of the longest row.

    Raises:
        UserError: it reads fewer tokens, looks ahead where it must not, or does not know a mode's mask.
    """
    if net.max_len is not None and net.max_len < longest:
        raise UserError(
            f"the losses ask for rows of up to {longest} tokens, and the backbone reads {net.max_len}; lower "
            "document_tokens or query_tokens"
        )
    modes = {MODES[1] if loss == "causal" else MODES[2]: loss for loss in losses if loss in WRITTEN}
    others = ", ".join(loss for loss in losses if loss not in WRITTEN)
    fix = "use a backbone that does both, such as attention-2x128" + (f", or losses=[{others}]" if others else "")
    ahead = [part for part in net.modules() if isinstance(part, Mixer) and part.causal == "no"]
    if ahead and modes:
        named = kebab(type(ahead[0]).__name__)
        raise UserError(f"mixer {named} always looks ahead, so it cannot write a token from those before it; {fix}")
    device = next(net.parameters()).device
    for mode, loss in modes.items():
        with torch.no_grad(), torch.device(device), suppress(NotImplementedError, RuntimeError):
            try:
                net.states(torch.zeros(1, 2, dtype=torch.long), mode_mask(mode, torch.ones(1, dtype=torch.long)))
            except UserError as error:
                raise UserError(f"the backbone cannot learn by the loss {loss}: {error}; {fix}") from None


@dataclass(frozen=True)
class CodeBatch:
    """Sequences for one of the losses.

    Attributes:
        kind: whose.
        ids, real: `[B, T]`; each row begins with its mode.
        source: tokens of each row that are read and not written, `[B]`.
        hide: what hiding tokens needs to know of the vocabulary.
    """

    kind: Name
    ids: Int[Tensor, "batch time"]
    real: Bool[Tensor, "batch time"]
    source: Int[Tensor, "batch"]
    hide: Tokens

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def shard(self, rank: int, world: int) -> CodeBatch:
        """One process's share."""
        mine = slice(rank, None, world)
        return replace(self, ids=self.ids[mine], real=self.real[mine], source=self.source[mine])

    def to(self, device: torch.device) -> CodeBatch:
        """The same on another device."""
        return replace(self, ids=self.ids.to(device), real=self.real.to(device), source=self.source.to(device))


class CodeBatches:
    """Comments with their code, for one loss after another; pure in the step.

    Rows begin as texts do that are encoded, with the tokens that the tokenizer puts first and then the mode; those that
    are only read also end so.

    Args:
        model: whose tokenizer has the modes, the sentinels and the marks of trees.
        losses: what is asked, one a step, in turn.
        size: rows in a batch.
        comment, code: the most tokens of a comment, and of a row that is read.
        trees: share of rows that are flat syntax trees.
        rate: share of tokens that spans hide.
    """

    def __init__(
        self,
        model: EncoderModel,
        data: SearchData,
        losses: Sequence[Name],
        size: int,
        comment: int,
        code: int,
        trees: float,
        rate: float,
        seed: int,
    ) -> None:
        tokenizer = model.tokenizer
        assert isinstance(tokenizer, SubwordTokenizer)
        self.losses, self.comment, self.code, self.seed = losses, comment, code, seed
        self.trees, self.rate = trees, rate
        before, after = around(tokenizer)
        framed = tokenizer.encode(["a"])[0]
        self.lead, self.trail = framed[:before], framed[len(framed) - after :]
        hide = roles(tokenizer)
        self.modes = [tokenizer.index(mode) or 0 for mode in MODES]
        self.sentinels = [tokenizer.index(each) or 0 for each in SENTINELS]
        marks = [tokenizer.index(mark) or 0 for mark in MARKS]
        self.hide = replace(hide, protect=(*hide.protect, *self.modes, *self.sentinels, *marks))
        self.pad, self.end = tokenizer.pad, tokenizer.eos if tokenizer.eos is not None else tokenizer.sep
        self.pairs = data.pairs
        self.order = Order(len(self.pairs), min(size, len(self.pairs)), seed)
        chosen = np.unique(self.pairs[:, 1])
        codes = [data.documents[i] for i in chosen]
        self.row = {int(d): n for n, d in enumerate(chosen)}
        self.plain = tokenizer.encode([each[: 32 * code] for each in codes], specials=False)
        self.flat = flattened(tokenizer, codes, code) if trees else self.plain
        self.comments = tokenizer.encode([query[:2000] for query in data.queries], specials=False)

    def __call__(self, step: int, progress: float) -> CodeBatch:
        kind = self.losses[step % len(self.losses)]
        random = np.random.default_rng((self.seed, step))
        rows = [
            self._row(kind, self.comments[query], self.row[int(code)], random)
            for query, code in self.pairs[self.order(step)]
        ]
        ids, real = batches.pad([[*source, *target] for source, target in rows], self.pad)
        return CodeBatch(kind, ids, real, torch.tensor([len(source) for source, _ in rows]), self.hide)

    def _row(
        self, kind: Name, comment: list[int], code: int, random: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        """What is read (the mode's token first), and what is written behind it."""
        body = (self.flat if random.random() < self.trees else self.plain)[code]
        comment = comment[: self.comment - 2]
        room = self.code - len(self.lead) - len(self.trail) - 1
        with_comment = [*comment, *body][:room]
        encoder, decoder, both = ([*self.lead, mode] for mode in self.modes)
        end = [] if self.end is None else [self.end]
        if kind == "causal":
            return decoder, with_comment
        if kind == "comment":
            return [*both, *body[:room]], [self.sentinels[0], *comment, *end]
        if kind == "denoise":
            source, target = hide_spans(with_comment, self.rate, 5, self.sentinels, random)
            return [*both, *source], [*target, *end]
        return [*encoder, *with_comment, *self.trail], []


def flattened(tokenizer: SubwordTokenizer, codes: list[str], limit: int) -> list[list[int]]:
    """Flat trees as ids, whole subtrees cut to `limit`; code that has no tree as its tokens."""
    found, known = [], frozenset(MARKS)
    for code, plain in zip(codes, tokenizer.encode(codes, specials=False), strict=True):
        tree = tree_of(code)
        if tree is None:
            found.append(plain)
            continue
        items = flatten(pruned(tree, limit))
        spelled = [item if item in known else f" {item}" for item in items]
        found.append([i for ids in tokenizer.encode(spelled, specials=False) for i in ids])
    return found
