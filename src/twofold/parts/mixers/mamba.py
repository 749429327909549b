"""State-space mixers: a state that decays and takes in, with step sizes chosen by the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.caches import Cache, ConvCache, StackCache
from twofold.parts.linear import Dense
from twofold.parts.masks import Mask
from twofold.parts.mixers.causal_conv import SiluConv
from twofold.parts.mixers.mixer import AnyMask, Mixer
from twofold.parts.norms import GatedRMSNorm
from twofold.parts.scans import selective_scan, ssd, ssd_matrix, ssd_step
from twofold.parts.states import StateCache, document_starts

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
"""x (or u), dt, b and c of a scan."""


def step_sizes(count: int, lowest: float = 1e-3, highest: float = 0.1) -> Float[Tensor, "count"]:
    """Biases whose softplus is log-uniform between the bounds: the step sizes that state-space models start with."""
    low, high = math.log(lowest), math.log(highest)
    step = torch.exp(torch.rand(count) * (high - low) + low)
    return step + torch.log(-torch.expm1(-step))


class MambaBlock(Mixer, abstract=True):
    """What Mamba and Mamba-2 share: a short convolution, a scan, a gate, and a cache of tail and state.

    Padding has step size zero and enters the convolution as zero, so the state passes it unchanged.

    Attributes:
        conv: the convolution, and the SiLU behind it.
        dim, inner: width outside and inside.
    """

    causal = "yes"
    conv: SiluConv
    inner: int

    # -- what the two differ in

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What is convolved, the gate, and what else the scan needs."""
        raise NotImplementedError

    def prepare(self, convolved: Tensor, extra: Tensor | None) -> Inputs:
        """What the scan is given."""
        raise NotImplementedError

    def scan(
        self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor, state: Tensor | None, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The scan with its direct path, and the state after it."""
        raise NotImplementedError

    def leave(self, y: Tensor, gate: Tensor) -> Tensor:
        """From the scan `[B, T, inner]` to the output."""
        raise NotImplementedError

    def new_state(self, batch: int) -> Tensor:
        """The state at the beginning; always float32 or finer, as it is a sum over all the past."""
        raise NotImplementedError

    # -- what they share

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        y, gate = self.scanned(x, mask, cache)
        return self.leave(y, gate)

    def scanned(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the scan gives `[B, T, inner]`, and the gate."""
        mask = Mask.of(mask)
        tail, memory = self._caches(cache)
        if memory is not None:
            memory.check(len(x))
        inputs, gate = self.routing(x, mask, tail)
        starts = document_starts(mask, memory, len(x))
        y, state = self.scan(*inputs, None if memory is None else memory.read(inputs[0].dtype), starts)
        if memory is not None and isinstance(cache, StackCache):
            given = inputs if starts is None else (*inputs, starts)
            memory.advance(state, x.shape[1], mask.segment_ids, self._replay, given)
            cache.length += x.shape[1]
        return y.to(x.dtype), gate

    def routing(self, x: Tensor, mask: Mask, tail: ConvCache | None = None) -> tuple[Inputs, Tensor]:
        """What the scan is given, in float32 or finer, and the gate."""
        convolved, gate, extra = self.enter(x)
        u, dt, b, c = self.prepare(cast(Tensor, self.conv(convolved, mask, tail)), extra)
        fine = torch.promote_types(x.dtype, torch.float32)
        dt = F.softplus(dt.to(fine) + cast(Tensor, self.dt_bias).to(fine))
        if mask.pad is not None:
            dt = dt * mask.pad[..., None].to(dt.dtype)
        return (u.to(fine), dt, b.to(fine), c.to(fine)), gate

    def _replay(self, state: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        u, dt, b, c, *starts = inputs
        return self.scan(u, dt, b, c, state, starts[0] if starts else None)[1]

    def _caches(self, cache: Cache | None) -> tuple[ConvCache | None, StateCache | None]:
        if cache is None:
            return None, None
        layers = cache.layers if isinstance(cache, StackCache) else []
        if len(layers) == 2 and isinstance(layers[0], ConvCache) and isinstance(layers[1], StateCache):
            return layers[0], layers[1]
        name = type(self).__name__
        raise UserError(f"{name} needs the cache that its new_cache makes, not {type(cache).__name__}")

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        where = self.like().device if device is None else torch.device(device)
        fine = torch.promote_types(dtype or self.like().dtype, torch.float32)
        state = StateCache(self.new_state(batch).to(where, fine))
        return StackCache([self.conv.new_cache(batch, max_len, dtype, device), state], max_len)


class S6(MambaBlock):
    """Mamba: a decay for every channel and state. Gu & Dao 2023, https://arxiv.org/abs/2312.00752

    `[u, z] = W_in x`, `u = SiLU(conv(u))`, `dt = softplus(W_up W_down u + bias)`, `b, c = linear(u)`, the scan of
    `selective_scan` with `a = -exp(log_a)`, `out = W_out(y · SiLU(z))`.

    Args:
        dim: width of the states.
        expand: inner width / dim.
        state: numbers remembered for each channel (N).
        kernel: of the convolution.
        rank: of the step sizes' map (default dim / 16, rounded up).
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, state=4), "narrow": cls(dim, expand=1, state=3, kernel=2, rank=2)}

    def __init__(self, dim: int, expand: int = 2, state: int = 16, kernel: int = 4, rank: int | None = None) -> None:
        super().__init__()
        at_least_one("S6", dim=dim, expand=expand, state=state, rank=rank)
        self.dim, self.inner, self.state = dim, expand * dim, state
        self.rank = -(-dim // 16) if rank is None else rank
        self.enter_map = Dense(dim, 2 * self.inner, bias=False)
        self.conv = SiluConv(self.inner, kernel)
        self.select = Dense(self.inner, self.rank + 2 * state, bias=False)
        self.step = Dense(self.rank, self.inner, bias=False)
        # Vectors, as matrices would decay: neither should go to zero.
        self.dt_bias = nn.Parameter(step_sizes(self.inner))
        self.log_a = nn.Parameter(torch.arange(1.0, state + 1).log().repeat_interleave(self.inner))
        self.skip = nn.Parameter(torch.ones(self.inner))
        self.out = Dense(self.inner, dim, bias=False)

    @property
    def a(self) -> Float[Tensor, "state inner"]:
        """Rates of decay, all negative."""
        return -torch.exp(self.log_a).unflatten(0, (self.state, self.inner))

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        u, z = self.enter_map(x).chunk(2, -1)
        return u, z, None

    def prepare(self, convolved: Tensor, extra: Tensor | None) -> Inputs:
        low, b, c = self.select(convolved).split((self.rank, self.state, self.state), -1)
        return convolved, self.step(low), b, c

    def scan(
        self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor, state: Tensor | None, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        y, last = selective_scan(x, dt, self.a.to(x.dtype), b, c, state, starts)
        return y + self.skip.to(x.dtype) * x, last

    def leave(self, y: Tensor, gate: Tensor) -> Tensor:
        return self.out(y * F.silu(gate))

    def new_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, self.state, self.inner)

    def flops(self, time: int) -> int:
        maps = sum(part.flops(time) for part in (self.enter_map, self.select, self.step, self.out))
        return maps + self.conv.flops(time) + 7 * time * self.inner * self.state


class SSD(MambaBlock):
    """Mamba-2: one decay a head, so that the scan is made of matrix products. Dao & Gu 2024, https://arxiv.org/abs/2405.21060

    `[z, x, b, c, dt] = W_in u`, `x, b, c = SiLU(conv(x, b, c))`, `dt = softplus(dt + bias)`, the scan of `ssd` with
    `a = -exp(log_a)`, then `W_out(RMSNorm(y · SiLU(z)))`.

    Args:
        dim: width of the states.
        expand: inner width / dim.
        state: height of a head's state (N).
        head_dim: its width (P).
        groups: heads of one group share b and c.
        kernel: of the convolution.
        chunk: positions that are mixed by one matrix; changes speed only.

    Raises:
        UserError: sizes that do not go together.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {
            "plain": cls(dim, state=6, head_dim=8),
            "chunks": cls(dim, expand=1, state=4, head_dim=4, groups=2, kernel=3, chunk=4),
        }

    def __init__(
        self,
        dim: int,
        expand: int = 2,
        state: int = 64,
        head_dim: int = 64,
        groups: int = 1,
        kernel: int = 4,
        chunk: int = 64,
    ) -> None:
        super().__init__()
        at_least_one("SSD", dim=dim, expand=expand, state=state, head_dim=head_dim, groups=groups, chunk=chunk)
        self.dim, self.inner, self.state, self.groups, self.chunk = dim, expand * dim, state, groups, chunk
        self.heads, self.head_dim = heads_of("SSD", self.inner, head_dim, groups), head_dim
        self.mixed = self.inner + 2 * groups * state
        self.enter_map = Dense(dim, self.inner + self.mixed + self.heads, bias=False)
        self.conv = SiluConv(self.mixed, kernel)
        self.dt_bias = nn.Parameter(step_sizes(self.heads))
        self.log_a = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = GatedRMSNorm(self.inner, 1e-5)
        self.out = Dense(self.inner, dim, bias=False)

    @property
    def a(self) -> Float[Tensor, "heads"]:
        """Rates of decay, all negative."""
        return -torch.exp(self.log_a)

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        z, mixed, dt = self.enter_map(x).split((self.inner, self.mixed, self.heads), -1)
        return mixed, z, dt

    def prepare(self, convolved: Tensor, extra: Tensor | None) -> Inputs:
        assert extra is not None
        size = self.groups * self.state
        x, b, c = convolved.split((self.inner, size, size), -1)
        b, c = (t.unflatten(-1, (self.groups, self.state)) for t in (b, c))
        return x.unflatten(-1, (self.heads, self.head_dim)), extra, b, c

    def scan(
        self, x: Tensor, dt: Tensor, b: Tensor, c: Tensor, state: Tensor | None, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        a = self.a.to(x.dtype)
        if x.shape[1] == 1 and state is not None and starts is None:
            y, last = ssd_step(x[:, 0], dt[:, 0], a, b[:, 0], c[:, 0], state)
            y = torch.addcmul(y[:, None], x, self.skip.to(x.dtype)[:, None])
        else:
            y, last = ssd(x, dt, a, b, c, state, starts, self.chunk, self.skip.to(x.dtype))
        return y.flatten(2), last

    def leave(self, y: Tensor, gate: Tensor) -> Tensor:
        return self.out(self.norm(y, gate))

    def new_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, self.heads, self.state, self.head_dim)

    def implicit(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        """The matrix by which the scan mixes its (convolved) values, direct path included."""
        mask = Mask.of(mask)
        (_, dt, b, c), _ = self.routing(x, mask)
        matrix = ssd_matrix(dt, self.a.to(dt.dtype), b, c, document_starts(mask, None, len(x)))
        direct = torch.eye(x.shape[1], dtype=dt.dtype, device=x.device) * self.skip.to(dt.dtype)[:, None, None]
        return matrix + direct

    def flops(self, time: int) -> int:
        size = min(self.chunk, time)
        inside = 2 * time * size * (self.groups * self.state + self.inner)
        between = 4 * time * self.inner * self.state
        return self.enter_map.flops(time) + self.out.flops(time) + self.conv.flops(time) + inside + between


def heads_of(name: str, inner: int, head_dim: int, groups: int) -> int:
    """How many heads of that width there are.

    Raises:
        UserError: the width does not divide into heads, or these into groups.
    """
    if inner % head_dim:
        raise UserError(
            f"{name}: the inner width {inner} does not divide into heads of {head_dim}; "
            f"use head_dim={math.gcd(inner, head_dim)}"
        )
    heads = inner // head_dim
    if heads % groups:
        raise UserError(
            f"{name}: {heads} heads do not divide into {groups} groups; use groups={math.gcd(heads, groups)}"
        )
    return heads
