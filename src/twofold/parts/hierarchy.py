"""Stacks over patches of patches of tokens: the outer ones see far, the innermost writes token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Growth, StackCache
from twofold.parts.channels.ffn import ChannelMixer
from twofold.parts.embeddings import Embedding, Table
from twofold.parts.heads import LMHead
from twofold.parts.init import normal
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part
from twofold.parts.stack import Block, Stack


class PatchStage(Part):
    """One outer stage: patches in, each as the joined vectors of its tokens; out, a vector for each part of a patch.

    Args:
        stack: causal, of width `dim`.
        vocab: number of tokens.
        dim: width of the states.
        patch: tokens in a patch.
        width: of a token's vector, `patch` of which are joined.
        parts: how many patches (tokens, in the end) of the next stage a patch holds.
        next_dim: width of the next stage.
    """

    def __init__(self, stack: Stack, vocab: int, dim: int, patch: int, width: int, parts: int, next_dim: int) -> None:
        super().__init__()
        at_least_one("PatchStage", vocab=vocab, dim=dim, patch=patch, width=width, parts=parts, next_dim=next_dim)
        self.stack, self.patch, self.parts = stack, patch, parts
        self.tokens, self.join = Table(vocab, width), Dense(patch * width, dim)
        self.start = nn.Parameter(torch.empty(dim))
        normal(self.start, dim**-0.5)
        self.out = Dense(dim, parts * next_dim)

    def read(self, ids: Int[Tensor, "rows patches patch"]) -> Float[Tensor, "rows patches dim"]:
        """A vector for each patch."""
        return self.join(self.tokens(ids).flatten(-2))

    def tell(self, states: Float[Tensor, "rows patches dim"]) -> Float[Tensor, "inner parts next_dim"]:
        """What each patch's state says to the parts of the patch, a row a patch."""
        return self.out(states).flatten(0, 1).unflatten(-1, (self.parts, -1))

    def flops(self, patches: int) -> int:
        """Multiply–adds, times two, for one row of so many patches."""
        return _stack_flops(self.stack, patches) + self.join.flops(patches) + self.out.flops(patches)


class Hierarchy(SequenceModel):
    """A causal model of stages. Position t gives what predicts token t + 1, from tokens 1 to t.

    The tokens that are predicted are cut into nested patches. Every stage reads its patches, each where the next one
    of the same enclosing patch stands (first in it: a learned start), and adds what the stage outside says of the
    enclosing patch. Egli et al. 2025, https://arxiv.org/abs/2502.14553; two stages of attention are MegaByte, Yu et al.
    2023, https://arxiv.org/abs/2305.07185; without outer stages it is a plain model whose first token is always the
    same.

    Args:
        outer: the stages before the last, outermost first.
        embedding, stack: of the last stage, which works on tokens.
        head: from its states to logits.
        lengths: patches (in the end tokens) in an enclosing patch of each stage; the first is the longest sequence's.
        chunks: pieces in which the last stage is computed while training, each anew for its gradient, which saves
            memory; changes nothing else.

    Raises:
        UserError: on use, an input that is longer than all lengths multiplied, or packed documents.
    """

    def __init__(
        self,
        outer: Sequence[PatchStage],
        embedding: Embedding,
        stack: Stack,
        head: LMHead,
        lengths: Sequence[int],
        chunks: int = 1,
    ) -> None:
        super().__init__(embedding, stack, head)
        if len(lengths) != len(outer) + 1 or min(lengths) < 1 or chunks < 1:
            raise UserError(
                f"Hierarchy: {len(outer) + 1} stages need as many lengths of at least 1, not {list(lengths)}"
            )
        self.outer, self.lengths, self.chunks = nn.ModuleList(outer), tuple(lengths), chunks
        self.start = nn.Parameter(torch.empty(embedding.dim))
        normal(self.start, embedding.dim**-0.5)

    @property
    def max_len(self) -> int:
        return math.prod(self.lengths)

    @property
    def patch(self) -> int:
        """Tokens in a patch of the outermost stage; 1 where there is one stage."""
        return math.prod(self.lengths[1:]) if len(self.outer) else 1

    def states(
        self,
        ids: Int[Tensor, "batch time"],
        mask: AnyMask = None,
        cache: StackCache | None = None,
        stop: int | None = None,
        types: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """States of the last stage. Left padding is moved to the right while it works."""
        mask = Mask.of(mask)
        mask.check(*ids.shape)
        if mask.segment_ids is not None or stop is not None or types is not None:
            raise UserError("a hierarchy of patches reads one text a row and has no layer to stop at; unpack the texts")
        self._fits(ids.shape[1] + (cache.length if cache is not None else 0))
        if cache is not None:
            assert isinstance(cache, PatchCache)
            return self._remembering(ids, mask, cache)
        if mask.pad is None:
            return self._whole(ids, None)
        order = (~mask.pad).int().argsort(stable=True, dim=1)
        return self._whole(ids.gather(1, order), None).gather(1, order.argsort(1)[..., None].expand(-1, -1, self.dim))

    def _remembering(self, ids: Tensor, mask: Mask, cache: PatchCache) -> Tensor:
        """New tokens of every row; rows whose patches begin at the same time go together."""
        real = torch.ones_like(ids, dtype=torch.bool) if mask.pad is None else mask.pad.expand(len(ids), -1)
        found = self.start.new_zeros(*ids.shape, self.dim)
        if cache.length == 0:
            cache.begin(real.sum(1))
        elif not bool(real.all()):
            raise UserError("behind the first tokens, a hierarchy's cache takes real ones alone; leave padding out")
        for rows, own in cache.groups:
            given = ids[rows][real[rows]].view(len(rows), -1)
            if own.length:
                states = torch.cat([self._step(token, own) for token in given.split(1, 1)], 1)
            else:
                states = self._whole(given, own)
            place = torch.zeros_like(found[rows])
            place[real[rows]] = states.flatten(0, 1)
            found[rows] = place
        cache.length += ids.shape[1]
        return found

    def _fits(self, length: int) -> None:
        if length > self.max_len:
            inside = self.patch if len(self.outer) else 1
            need = (-(-length // inside), *self.lengths[1:])
            raise UserError(
                f"{length} tokens do not fit patches of {'x'.join(map(str, self.lengths))} = {self.max_len}; "
                f"use lengths of at least {'x'.join(map(str, need))}, or give shorter texts"
            )

    def _whole(self, ids: Tensor, own: Aligned | None) -> Tensor:
        """All positions at once."""
        batch, time = ids.shape
        ahead = nn.functional.pad(ids[:, 1:], (0, 1 + -time % self.patch))
        if own is not None:
            own.note(ids)
        if not len(self.outer):
            return self._inside(ahead, None, 0)
        stage: PatchStage = self.outer[0]  # type: ignore[assignment]
        patches = ahead.view(batch, -1, self.patch)
        x = _later(stage.read(patches), stage.start)
        context = stage.tell(stage.stack(x, Mask.causal(), None if own is None else own.outer))
        if own is not None:
            own.context = context.unflatten(0, (batch, -1))[:, -1]
        return self._inside(patches.flatten(0, 1), context, 1).view(batch, -1, self.dim)[:, :time]

    def _step(self, token: Int[Tensor, "rows one"], own: Aligned) -> Tensor:
        """One more token a row; the outermost stage takes a step where a patch begins."""
        place, size = own.length, self.patch
        own.note(token)
        if not len(self.outer):
            return self._inside(own.ids[:, 1 : place + 2], None, 0)[:, -1:]
        inside = place % size
        first = place - inside
        if not inside:
            stage: PatchStage = self.outer[0]  # type: ignore[assignment]
            x = stage.read(own.ids[:, None, place - size + 1 : place + 1])
            own.context = stage.tell(stage.stack(x, Mask.causal(), own.outer))
        return self._inside(own.ids[:, first + 1 : first + size + 1], own.context, 1)[:, inside : inside + 1]

    def _inside(self, ids: Int[Tensor, "rows size"], context: Tensor | None, first: int) -> Tensor:
        """The stages from `first` on, inside patches: states `[rows, size, dim]`."""
        rows = ids.shape[0]
        for stage in self.outer[first:]:
            assert isinstance(stage, PatchStage)
            patches = ids.unflatten(1, (-1, stage.patch))
            x = _later(stage.read(patches), stage.start)
            context = stage.tell(stage.stack(x if context is None else x + context, Mask.causal()))
            ids = patches.flatten(0, 1)
        x = _later(self.embedding(ids), self.start)
        x = x if context is None else x + context
        return self._last(x).reshape(rows, -1, self.dim)

    def _last(self, x: Tensor) -> Tensor:
        if self.chunks == 1 or not (self.training and torch.is_grad_enabled()):
            return self.stack(x, Mask.causal())
        pieces = [checkpoint(self.stack, piece, Mask.causal(), use_reentrant=False) for piece in x.chunk(self.chunks)]
        return torch.cat(pieces)

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> PatchCache:
        """The outermost stage's cache, and the tokens so far."""
        where = self.start.device if device is None else device
        stack: Stack | None = self.outer[0].stack if len(self.outer) else None  # type: ignore[assignment]

        def make(rows: int) -> Aligned:
            outer = None if stack is None else stack.new_cache(rows, -(-max_len // self.patch), dtype, where)
            ids = torch.zeros(rows, max_len + self.patch, dtype=torch.long, device=where)
            return Aligned(outer, ids, max_len, torch.zeros(0, device=where))

        return PatchCache(make, batch, max_len, self.patch)

    def flops(self, time: int) -> int:
        """Multiply–adds, times two, of all stages for one row of `time` tokens (without the head)."""
        total, rows, length = 0, 1, -(-time // self.patch) * self.patch
        for stage in self.outer:
            assert isinstance(stage, PatchStage)
            patches = length // stage.patch
            total, rows, length = total + rows * stage.flops(patches), rows * patches, stage.patch
        return total + rows * _stack_flops(self.stack, length)


@dataclass
class Aligned:
    """What is remembered of rows whose patches begin at the same time.

    Args:
        outer: the outermost stage's cache; None where there is one stage.
        ids: tokens so far, and room for those to come.
        room: how many tokens it is for.
        context: what the outermost stage says of the patch that is being written.
        length: tokens so far.
    """

    outer: StackCache | None
    ids: Tensor
    room: int
    context: Tensor
    length: int = 0

    def note(self, ids: Int[Tensor, "rows time"]) -> None:
        """Keeps new tokens (UserError where there is no room for them)."""
        stop = self.length + ids.shape[1]
        if stop > self.room:
            raise UserError(f"the cache holds {self.room} tokens and {stop} are needed; make it with max_len={stop}")
        self.ids[:, self.length : stop] = ids
        self.length = stop


class PatchCache(StackCache):
    """What a hierarchy remembers: its outermost stage's cache, what that said of the current patch, and the tokens.

    The stages inside are computed anew within the current patch, whose length does not grow. Rows of unequal length
    are remembered apart.

    Args:
        make: what remembers so many rows.
        size: tokens in a patch of the outermost stage.
    """

    def __init__(self, make: Callable[[int], Aligned], batch: int, max_len: int, size: int) -> None:
        super().__init__([], max_len)
        self.make, self.batch, self.size = make, batch, size
        self.groups: list[tuple[Tensor, Aligned]] = []

    def begin(self, counts: Int[Tensor, "batch"]) -> None:
        """Sets memory aside, together for rows of equally many tokens.

        Raises:
            UserError: another number of rows than it was made for, or a row without a token.
        """
        if len(counts) != self.batch:
            raise UserError(f"the cache was made for {self.batch} rows and got {len(counts)}; make it anew")
        if not int(counts.min()):
            raise UserError("a row is padding alone; give each at least one token, such as the start token")
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero()[:, 0]
            self.groups.append((rows, self.make(len(rows))))

    @property
    def growth(self) -> Growth:  # type: ignore[override]
        return "linear"

    @property
    def nbytes(self) -> int:
        kept = (own for _, own in self.groups)
        return sum((0 if own.outer is None else own.outer.nbytes) + own.ids[:, : own.length].nbytes for own in kept)

    def bytes_at(self, length: int) -> int:
        own = self.make(self.batch)
        inner = 0 if own.outer is None else own.outer.bytes_at(-(-length // self.size))
        return inner + own.ids[:, :length].nbytes

    @property
    def back(self) -> int | None:  # type: ignore[override]
        """None of them: patches that are done are not kept apart."""
        return 0

    def check_rewind(self, n: int) -> None:
        raise UserError("the cache of a hierarchy of patches cannot be rewound; keep a copy of it instead")

    def branch(self, paths: Tensor, tail: int) -> None:
        raise UserError("the cache of a hierarchy of patches cannot keep a branch of a tree of drafts")

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        groups = []
        for rows, own in self.groups:
            place = torch.full((self.batch,), -1).index_copy(0, rows, torch.arange(len(rows)))[index]
            new = (place >= 0).nonzero()[:, 0]
            chosen = place[new]
            if not len(new):
                continue
            if own.outer is not None:
                own.outer.reorder(chosen)
                own.context = own.context[chosen]
            own.ids = own.ids[chosen]
            groups.append((new, own))
        self.groups, self.batch = groups, len(index)


def _later(x: Float[Tensor, "rows time dim"], start: Float[Tensor, "dim"]) -> Float[Tensor, "rows time dim"]:
    """Each vector one place later, `start` in front."""
    return torch.cat((start.to(x.dtype).expand(len(x), 1, -1), x[:, :-1]), 1)


def _stack_flops(stack: Stack, time: int) -> int:
    total = 0
    for block in stack.layers:
        assert isinstance(block, Block)
        total += sum(
            part.flops(time) for part in (block.mixer, block.channel) if isinstance(part, Mixer | ChannelMixer)
        )
    return total
