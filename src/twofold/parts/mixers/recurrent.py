"""Recurrences with a nonlinearity between steps: truly sequential, so these mixers go through time in a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache
from twofold.parts.channels.ffn import nonlinearity
from twofold.parts.init import normal
from twofold.parts.masks import Mask
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.states import StateCache, document_starts


class Recurrent(Mixer, abstract=True):
    """`h_t = act(carry(h_{t-1}) + x_t + bias)`, and h_t is what comes out. Padding leaves h as it is.

    Attributes:
        bias: `[dim]`.
        act: the nonlinearity.
    """

    causal = "yes"
    bias: nn.Parameter
    act: Callable[[Tensor], Tensor]

    @property
    def width(self) -> int:
        """Numbers in a state; those that come out stand first."""
        return self.dim

    def carry(self, h: Float[Tensor, "dim batch"]) -> Float[Tensor, "dim batch"]:
        """What a step makes of the state before, a column a sequence."""
        raise NotImplementedError

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask)
        mask.check(x.shape[0], x.shape[1])
        if cache is not None and not isinstance(cache, StateCache):
            raise UserError(
                f"{type(self).__name__} needs the cache that its new_cache makes, not {type(cache).__name__}"
            )
        if cache is not None:
            cache.check(len(x))
        state = x.new_zeros(x.shape[0], self.width) if cache is None else cache.read(x.dtype)
        starts = document_starts(mask, cache, len(x))
        marks = [] if mask.pad is None else [mask.pad.expand(len(x), -1)]
        y = self.run(x, state, marks[0] if marks else None, starts)
        if cache is not None:
            real = x.new_ones(x.shape[:2], dtype=torch.bool) if mask.pad is None else marks[0]
            first = torch.zeros_like(real) if starts is None else starts
            cache.advance(y[:, -1], x.shape[1], mask.segment_ids, self._replay, (x, real, first))
        return y[..., : self.dim]

    def run(self, x: Tensor, h: Tensor, real: Tensor | None, starts: Tensor | None) -> Tensor:
        """States after each position, `[B, T, dim]`."""
        h, out = h.T, []
        for t, given in enumerate((x + self.bias).permute(1, 2, 0).contiguous().unbind(0)):
            if starts is not None:
                h = h.masked_fill(starts[:, t], 0.0)
            new = self.act(self.carry(h) + given)
            h = new if real is None else torch.where(real[:, t], new, h)
            out.append(h)
        return torch.stack(out).permute(2, 0, 1)

    def _replay(self, state: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        x, real, starts = inputs
        return self.run(x, state, real, starts)[:, -1]

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        where = self.like().device if device is None else device
        return StateCache(torch.zeros(batch, self.width, dtype=dtype or self.like().dtype, device=where))


class RingConv(Recurrent):
    """A convolution around a ring carries the state: `h_t = act(u ⊛ h_{t-1} + x_t + bias)`.

    The kernel begins as a shift by one position, so that what entered at position 0 travels as a wave: position p holds
    what came p steps ago, until it has gone round. Keller et al. 2023, https://arxiv.org/abs/2309.08045

    Args:
        channels, positions: of the ring; the states are `channels · positions` wide, channel by channel.
        kernel: positions that a step reaches, odd.
        start: shift (a wave), identity (none) or random.
        activation: relu (the paper's), tanh, or linear.

    Raises:
        UserError: an even kernel, or one longer than the ring.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "wave": cls(2, dim // 2),
            "random": cls(4, dim // 4, kernel=1, start="random", activation="tanh"),
        }

    def __init__(
        self, channels: int, positions: int, kernel: int = 3, start: str = "shift", activation: str = "relu"
    ) -> None:
        super().__init__()
        at_least_one("RingConv", channels=channels, positions=positions, kernel=kernel)
        if kernel > positions:
            widest = positions - 1 + positions % 2
            raise UserError(f"RingConv: a kernel of {kernel} is longer than {positions} positions; use kernel={widest}")
        if kernel % 2 == 0:
            near = " or ".join(f"kernel={each}" for each in (kernel - 1, kernel + 1) if each <= positions)
            raise UserError(f"RingConv: a kernel of {kernel} has no middle; use {near}")
        if start not in STARTS:
            raise UserError(f"RingConv: unknown start {start!r}; known: {', '.join(STARTS)}")
        self.dim, self.channels, self.positions, self.kernel = channels * positions, channels, positions, kernel
        self.weight = nn.Parameter(STARTS[start](channels, kernel))
        self.bias = nn.Parameter(torch.zeros(self.dim))
        self.act = _activation(activation)

    def carry(self, h: Float[Tensor, "dim batch"]) -> Float[Tensor, "dim batch"]:
        side, ring = self.kernel // 2, h.unflatten(0, (self.channels, self.positions))
        taps = torch.cat([ring.roll(side - tap, 1) for tap in range(self.kernel)])
        weight = self.weight.permute(0, 2, 1).flatten(1)  # [channels, kernel · channels]
        return (weight @ taps.flatten(1)).view_as(h)

    def flops(self, time: int) -> int:
        return 2 * time * self.dim * self.channels * self.kernel


class IdentityRNN(Recurrent):
    """`h_t = act(W h_{t-1} + x_t + bias)` with W the identity at first. Le, Jaitly & Hinton 2015, https://arxiv.org/abs/1504.00941

    Args:
        dim: width of the state.
        activation: relu (the paper's), tanh, or linear.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim), "tanh": cls(dim, "tanh")}

    def __init__(self, dim: int, activation: str = "relu") -> None:
        super().__init__()
        at_least_one("IdentityRNN", dim=dim)
        self.dim = dim
        self.weight = nn.Parameter(torch.eye(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.act = _activation(activation)

    def carry(self, h: Float[Tensor, "dim batch"]) -> Float[Tensor, "dim batch"]:
        return self.weight @ h

    def flops(self, time: int) -> int:
        return 2 * time * self.dim * self.dim


class LSTM(Recurrent):
    """Long short-term memory: a state h and a cell c, `c = f c + i g`, `h = o tanh(c)`.

    Hochreiter & Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gate of Gers et al. 2000,
    https://doi.org/10.1162/089976600300015015. Gates i, f, g, o from the input and h; the forget gate's bias starts
    at 1.

    Args:
        dim: width of inputs and states.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim)}

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least_one("LSTM", dim=dim)
        self.dim = dim
        self.enter, self.weight = nn.Parameter(torch.empty(4 * dim, dim)), nn.Parameter(torch.empty(4 * dim, dim))
        for weight in (self.enter, self.weight):
            normal(weight, (3 * dim) ** -0.5)
        self.bias = nn.Parameter(torch.cat([torch.zeros(dim), torch.ones(dim), torch.zeros(2 * dim)]))

    @property
    def width(self) -> int:
        return 2 * self.dim

    def run(self, x: Tensor, h: Tensor, real: Tensor | None, starts: Tensor | None) -> Tensor:
        h, c = h[:, : self.dim], h[:, self.dim :]
        if real is None and starts is None:
            # The library's loop gives the last cell alone, and no other one is asked for.
            weights = [self.enter, self.weight, self.bias, torch.zeros_like(self.bias)]
            state = (h[None].contiguous(), c[None].contiguous())
            y, _, last = torch.lstm(x, state, weights, True, 1, 0.0, False, False, True)
            return torch.cat([y, last[0][:, None].expand(-1, y.shape[1], -1)], -1)
        out = []
        for t, given in enumerate((x @ self.enter.T + self.bias).unbind(1)):
            if starts is not None:
                h, c = (s.masked_fill(starts[:, t, None], 0.0) for s in (h, c))
            i, f, g, o = (given + h @ self.weight.T).chunk(4, -1)
            cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
            new = o.sigmoid() * cell.tanh()
            if real is not None:
                new, cell = torch.where(real[:, t, None], new, h), torch.where(real[:, t, None], cell, c)
            h, c = new, cell
            out.append(torch.cat([h, c], -1))
        return torch.stack(out, 1)

    def flops(self, time: int) -> int:
        return 16 * time * self.dim**2


class TwoWay(Mixer):
    """The sum of a mixer over a sequence and of another over the sequence from its end.

    Args:
        inner: what reads forward; always causal.
        back: what reads backward; None: the same one.

    Raises:
        UserError: an inner mixer that is not causal.
    """

    causal = "no"

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"lstm": cls(LSTM(dim), LSTM(dim)), "one": cls(LSTM(dim))}

    def __init__(self, inner: Mixer, back: Mixer | None = None) -> None:
        super().__init__()
        for part in (inner, back):
            if part is not None and part.causal != "yes":
                raise UserError(f"TwoWay reads each way with a causal mixer, and {type(part).__name__} is none")
        if back is not None and back.dim != inner.dim:
            raise UserError(f"TwoWay: one way is {inner.dim} wide and the other {back.dim}; give both the same dim")
        self.inner, self.back = inner, back
        self.dim, self.pads = inner.dim, inner.pads

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        mask = Mask.of(mask).two_way("mixer TwoWay", "the mixer inside it by itself")
        turned = replace(
            mask,
            pad=None if mask.pad is None else mask.pad.flip(1),
            segment_ids=None if mask.segment_ids is None else mask.segment_ids.flip(1),
            _kept=None,
        )
        back = self.inner if self.back is None else self.back
        behind: Tensor = back(x.flip(1), turned)
        ahead: Tensor = self.inner(x, mask)
        return ahead + behind.flip(1)

    def flops(self, time: int) -> int:
        return self.inner.flops(time) + (self.inner if self.back is None else self.back).flops(time)


def _dirac(channels: int, kernel: int, offset: int) -> Tensor:
    weight = torch.zeros(channels, channels, kernel)
    weight[:, :, kernel // 2 + offset] = torch.eye(channels)
    return weight


def _random(channels: int, kernel: int) -> Tensor:
    weight = torch.empty(channels, channels, kernel)
    normal(weight, (channels * kernel) ** -0.5)
    return weight


STARTS = {
    # The tap before the middle reads the position before, so the wave moves on by one.
    "shift": lambda channels, kernel: _dirac(channels, kernel, -1 if kernel > 1 else 0),
    "identity": lambda channels, kernel: _dirac(channels, kernel, 0),
    "random": _random,
}
"""How a ring's kernel begins: `(channels, kernel) -> [channels, channels, kernel]`."""


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    return (lambda h: h) if name == "linear" else nonlinearity(name)
