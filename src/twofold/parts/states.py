"""What recurrent mixers remember: one state, and a little of how it came about, so that tokens can be taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.caches import Cache, Growth
from twofold.parts.masks import Mask

Replay = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""The state after some tokens, from the state before them and what the tokens brought, each `[B, T, ...]`."""


@dataclass
class _Call:
    """One call: where it began, and (if short) what it needs to be repeated in part."""

    length: int
    time: int
    state: Tensor
    dtype: torch.dtype
    segment: Tensor | None
    segments: Tensor | None
    replay: Replay | None
    inputs: tuple[Tensor, ...]


class StateCache(Cache):
    """A recurrent state `[B, ...]`; as large after a million tokens as after one.

    Going back restores the state before a call and, inside a call of at most `back` tokens, repeats its beginning.

    Args:
        state: at the beginning, a row a sequence; states are kept in its type, whatever type they are computed in.
        back: tokens that may be taken back one by one.
    """

    growth: Growth = "const"
    back: int

    def __init__(self, state: Tensor, back: int = 16) -> None:
        self.state, self.back = state, back
        self.segment: Tensor | None = None
        self.length = 0
        self._calls: list[_Call] = []

    @property
    def nbytes(self) -> int:
        return self.state.nbytes

    def check(self, rows: int) -> None:
        """Refuses another number of rows than it was made for (UserError)."""
        if rows != len(self.state):
            raise UserError(f"the cache was made for {len(self.state)} rows and got {rows}; make it with batch={rows}")

    def read(self, dtype: torch.dtype) -> Tensor:
        """The state in the type that a mixer computes in."""
        return self.state.to(dtype)

    def starts(self, segments: Int[Tensor, "batch time"] | None) -> Bool[Tensor, "batch time"] | None:
        """Where packed documents begin among new tokens; without `segments` the last document goes on."""
        if segments is None:
            return None
        before = self.segment
        if before is None and self.length:  # the tokens so far came without: they are the first document, 0
            before = segments.new_zeros(len(segments))
        return starts(segments, before)

    def advance(
        self,
        state: Tensor,
        time: int,
        segments: Int[Tensor, "batch time"] | None = None,
        replay: Replay | None = None,
        inputs: Sequence[Tensor] = (),
    ) -> None:
        """Takes the state after `time` new tokens, and how to come to the state after fewer of them."""
        short = time <= self.back
        kept = tuple(inputs) if short else ()
        self._calls.append(
            _Call(self.length, time, self.state, state.dtype, self.segment, segments, replay if short else None, kept)
        )
        while sum(call.time for call in self._calls[1:]) >= self.back:
            self._calls.pop(0)
        if segments is not None:
            self.segment = segments[:, -1].expand(len(state))
        self.state, self.length = state.to(self.state.dtype), self.length + time

    def check_rewind(self, n: int) -> None:
        target, call = self.length - n, self._call_of(n)
        reach = self._calls[0].length if self._calls else self.length
        if n and (n < 0 or call is None or (call.length < target and call.replay is None)):
            raise UserError(
                f"cannot rewind {n} tokens of {self.length}: a recurrent state goes back to token {reach}, and not "
                f"into a call of more than {self.back} tokens; keep a copy of the cache instead"
            )

    def _call_of(self, n: int) -> _Call | None:
        """The call in which the token before the last `n` came."""
        return next((call for call in reversed(self._calls) if call.length <= self.length - n), None)

    def rewind(self, n: int) -> None:
        self.check_rewind(n)
        target, call = self.length - n, self._call_of(n)
        if n == 0 or call is None:
            return
        del self._calls[self._calls.index(call) :]
        self.state, self.segment, self.length = call.state, call.segment, call.length
        keep = target - call.length
        if keep and call.replay is not None:
            inputs = tuple(t[:, :keep] for t in call.inputs)
            segments = None if call.segments is None else call.segments[:, :keep]
            self.advance(call.replay(call.state.to(call.dtype), inputs), keep, segments, call.replay, inputs)

    def reorder(self, index: Int[Tensor, "rows"]) -> None:
        index = index.to(self.state.device)

        def moved(t: Tensor | None) -> Tensor | None:
            return t if t is None or len(t) == 1 < len(self.state) else t.index_select(0, index)

        for call in self._calls:
            call.state, call.segment, call.segments = (  # type: ignore[assignment]
                moved(t) for t in (call.state, call.segment, call.segments)
            )
            call.inputs = tuple(t.index_select(0, index) for t in call.inputs)
        self.segment = moved(self.segment)
        self.state = self.state.index_select(0, index)


def starts(
    segments: Int[Tensor, "batch time"], before: Int[Tensor, "batch"] | None = None
) -> Bool[Tensor, "batch time"]:
    """Where packed documents begin; the first token begins one unless it goes on with `before`."""
    first = segments[:, :1] if before is None else before[:, None].expand(-1, 1)
    if len(first) != len(segments):
        segments = segments.expand(len(first), -1)
    return torch.cat((first, segments[:, :-1]), 1) != segments


def document_starts(mask: Mask, cache: StateCache | None, rows: int) -> Bool[Tensor, "batch time"] | None:
    """Where packed documents begin among the tokens of a call, for all rows; None: nowhere."""
    if mask.segment_ids is None:
        return None
    found = starts(mask.segment_ids) if cache is None else cache.starts(mask.segment_ids)
    return None if found is None else found.expand(rows, -1)


def flip(x: Tensor) -> Tensor:
    """`[B, T, ...]` from its end to its beginning."""
    return x.flip(1)


def shift(x: Tensor, begins: Bool[Tensor, "batch time"] | None = None) -> Tensor:
    """`[B, T, ...]`, each position holding what its predecessor held: zero first, and where a document begins."""
    moved = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), 1)
    if begins is None:
        return moved
    return moved.masked_fill(begins.reshape(*begins.shape, *[1] * (x.ndim - 2)), 0)
