"""The scan of Mamba-2 with a gradient of its own: products of matrices for some chunks at a time, and between them
passes compiled by numba, so that what is made of a chunk is used while it is in a processor's cache.

Imported where numba is installed (`pip install twofold[fast]`); `scans.ssd` says what is computed. Sizes: B rows, J
chunks of all rows, Q positions of a chunk, H = G · R heads in groups, N the height of a state, P its width.

Backward, with `u = dt · x`, `l_i` the sum of log decays up to i, `W_ij = (c_i · b_j) exp(l_i - l_j)`: what scales a row
scales it in everything that i reads, what scales a column in everything that j writes, and a chunk's whole decay in the
state behind it, so that `∂l_i = ∂y_i · y_i - u_i · ∂u_i` and `∂l_end = ⟨∂state, state⟩` besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd

from twofold.parts import kernels, scans, ssd_passes
from twofold.parts.compiled import Rows, arrays, each

_KEPT = 1 << 18  # numbers of x that go together


@dataclass(frozen=True)
class _Chunks:
    """Chunks of one size, of all rows, and what their step sizes make: all `[B, K, H, Q]` but `first` `[B, K, Q]`.

    Attributes:
        begin: their first position.
        dt, log: step sizes, and log decays summed from each chunk's beginning.
        to_end, start: decays from each position to the chunk's end, and to each position from its beginning.
        first: where in its chunk each position's document begins.
    """

    begin: int
    dt: Tensor
    log: Tensor
    to_end: Tensor
    start: Tensor
    first: Tensor

    @classmethod
    def of(cls, begin: int, size: int, dt: Tensor, a: Tensor, starts: Tensor | None) -> _Chunks:
        """Those of `dt` `[B, K · size, H]`."""
        steps = dt.unflatten(1, (-1, size))
        log = (steps.double() * a).cumsum(2).transpose(2, 3).contiguous()  # differences of sums lose digits
        steps = steps.transpose(2, 3).contiguous()
        to_end, start = torch.exp(log[..., -1:] - log).to(dt.dtype), torch.exp(log).to(dt.dtype)
        first = steps.new_zeros(*steps.shape[:2], size, dtype=torch.long)
        if starts is not None:
            fresh, places = starts.unflatten(1, (-1, size)), torch.arange(size, device=steps.device)
            first = (fresh * places).cummax(2).values
            to_end = to_end * (places >= first[..., -1:])[:, :, None]
            start = start * ~(fresh.cumsum(2) > 0)[:, :, None]
        return cls(begin, steps, log, to_end, start, first)

    def pieces(self, count: int) -> list[_Chunks]:
        """So many chunks of each row at a time."""
        tensors = (self.dt, self.log, self.to_end, self.start, self.first)
        size = self.first.shape[2]
        return [
            _Chunks(self.begin + i * count * size, *some)
            for i, some in enumerate(zip(*(t.split(count, 1) for t in tensors), strict=True))
        ]

    @property
    def through(self) -> Tensor:
        """Decay over each whole chunk `[B, K, H]`."""
        return self.start[..., -1].contiguous()

    def flat(self, name: str) -> Tensor:
        """Chunks of all rows in one dimension."""
        return getattr(self, name).flatten(0, 1).contiguous()


@dataclass(frozen=True)
class _Piece:
    """Some chunks of all rows, and the products and passes that both directions take."""

    chunks: _Chunks
    b: Tensor
    c: Tensor
    sizes: tuple[int, int, int, int]  # B, G, R, P

    @property
    def count(self) -> tuple[int, int]:
        """K and Q."""
        return self.chunks.first.shape[1], self.chunks.first.shape[2]

    def grouped(self, t: Tensor) -> Tensor:
        """b or c of these positions `[J · G, Q, N]`."""
        (count, size), begin = self.count, self.chunks.begin
        part = t[:, begin : begin + count * size].unflatten(1, (count, size))
        return part.transpose(2, 3).reshape(-1, size, t.shape[-1])

    def places(self, rows: Rows) -> np.ndarray:
        """Where the chunks of all rows begin, `[J]`."""
        (count, size), batch = self.count, np.arange(self.sizes[0])
        return (batch[:, None] * rows.row + (self.chunks.begin + np.arange(count) * size) * rows.step).ravel()

    def decays(self) -> tuple[Tensor, Tensor]:
        """Decays between positions `[J, H, Q, Q]`, and how c and b meet `[J, G, 1, Q, Q]`."""
        (count, size), (batch, groups, heads, _) = self.count, self.sizes
        out = self.b.new_empty(batch * count, groups * heads, size, size)
        _over(ssd_passes.decays, [self.chunks.flat("log"), self.chunks.flat("first"), out])
        met = torch.bmm(self.grouped(self.c), self.grouped(self.b).mT)
        return out, met.view(-1, groups, 1, size, size)

    def weighted(self, decays: Tensor, met: Tensor, out: Tensor | None = None) -> Tensor:
        """Their product, by which heads mix positions `[J · H, Q, Q]`."""
        split = decays.unflatten(1, (met.shape[1], -1))
        return torch.mul(split, met, out=None if out is None else out.view(split.shape)).flatten(0, 2)

    def spread(self, rows: Rows, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Rows times a factor, heads apart `[J · H, Q, P]`, and times another, side by side `[J · G, Q, R · P]`."""
        (count, size), (batch, groups, heads, width) = self.count, self.sizes
        apart = self.b.new_empty(batch * count, groups * heads, size, width)
        beside = self.b.new_empty(batch * count, groups, size, heads * width)
        places = torch.from_numpy(self.places(rows))
        _over(
            lambda at, *rest: ssd_passes.spread(rows.flat, at, rows.step, *rest),
            [places, one.flatten(0, 1), other.flatten(0, 1), apart, beside],
        )
        return apart.flatten(0, 1), beside.flatten(0, 1)

    def rowwise(self, t: Tensor) -> Tensor:
        """`[J · G, ...]` as `[B, K, G, ...]`."""
        return t.view(self.sizes[0], -1, self.sizes[1], *t.shape[1:])


class FusedSSD(torch.autograd.Function):
    """As `scans.ssd`, for float32 on a processor."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # the products in it are not autocast's
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, starts: Tensor | None,
        chunk: int, skip: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        running = _in_groups(state, b.shape[2])
        y, rows, keep = x.new_empty(x.shape), Rows.of(x), any(ctx.needs_input_grad)
        out, enters = Rows.of(y), []
        for piece in _pieces(x, dt, a, b, c, starts, chunk):
            chunks, factors = piece.chunks, piece.chunks.dt
            apart, beside = piece.spread(rows, factors, factors * chunks.to_end)
            decays, met = piece.decays()
            near = torch.bmm(piece.weighted(decays, met, out=decays), apart)
            enter = piece.rowwise(torch.bmm(piece.grouped(b).mT, beside))
            _over(ssd_passes.carry, [chunks.through, enter, running])
            far = torch.bmm(piece.grouped(c), enter.flatten(0, 2), out=beside)
            places = [torch.from_numpy(piece.places(each)) for each in (rows, out)]
            start, direct = chunks.flat("start"), skip.detach().numpy()
            near, far = near.unflatten(0, (-1, x.shape[2])), far.unflatten(0, (-1, b.shape[2]))

            def join(near, far, start, at, into):
                ssd_passes.join(near, far, start, rows.flat, at, rows.step, direct, out.flat, into)  # noqa: B023 (done at once)

            _over(join, [near, far, start, *places])
            if keep:
                enters.append(enter)
        ctx.save_for_backward(x, dt, a, b, c, state, skip, starts, y, running, *enters)
        ctx.chunk = chunk
        return y, _in_heads(running, state)

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, state, skip, starts, y, last, *enters = ctx.saved_tensors
        if torch.is_grad_enabled():
            found = kernels.again(
                lambda x, dt, a, b, c, state, skip: scans.plain_ssd(x, dt, a, b, c, state, starts, ctx.chunk, skip),
                (x, dt, a, b, c, state, skip),
                grads,
            )
            return *found[:6], None, None, found[6]
        grad_y, grad_last = grads
        running = _in_groups(grad_last, b.shape[2])
        grad_x, grad_dt, grad_b, grad_c = (t.new_empty(t.shape) for t in (x, dt, b, c))
        grad_a, grad_skip = torch.zeros_like(a), torch.zeros_like(skip)
        rows, left, given, into = (Rows.of(t) for t in (x, y, grad_y, grad_x))
        groups, heads = b.shape[2], x.shape[2]
        for piece, enter in reversed(list(zip(_pieces(x, dt, a, b, c, starts, ctx.chunk), enters, strict=True))):
            chunks, written, read = piece.chunks, piece.grouped(b), piece.grouped(c)
            apart, beside = piece.spread(rows, chunks.dt, chunks.dt * chunks.to_end)
            wanted, wanted_beside = piece.spread(given, torch.ones_like(chunks.start), chunks.start)
            decays, met = piece.decays()
            near = torch.bmm(piece.weighted(decays, met).mT, wanted)
            to_met = torch.bmm(wanted, apart.mT).view_as(decays).mul_(decays)
            to_met = to_met.unflatten(1, (groups, -1)).sum(2).flatten(0, 1)
            to_read = torch.baddbmm(torch.bmm(to_met, written), wanted_beside, enter.flatten(0, 2).mT)
            to_enter = piece.rowwise(torch.bmm(read.mT, wanted_beside))
            pull = x.new_empty(chunks.through.shape)
            _over(ssd_passes.carry_back, [chunks.through, to_enter, running, enter, last, pull])
            last = enter[:, 0]
            to_sums = to_enter.flatten(0, 2)
            to_written = torch.baddbmm(torch.bmm(to_met.mT, read), beside, to_sums.mT)
            far = torch.bmm(written, to_sums, out=beside)
            to_dt = x.new_empty(chunks.flat("dt").shape)
            to_a, to_skip = x.new_empty(2, *to_dt.shape[:2])
            places = [torch.from_numpy(piece.places(each)) for each in (rows, left, given)]

            def slopes(near, far, to_end, dt, pull, at, at_y, at_given, *outs):
                ssd_passes.slopes(
                    near, far, to_end, dt, *arrays(a, skip), pull, rows.flat, at, rows.step, left.flat, at_y,
                    given.flat, at_given, given.step, into.flat, *outs,
                )  # fmt: skip

            _over(
                slopes,
                [
                    near.unflatten(0, (-1, heads)), far.unflatten(0, (-1, groups)), chunks.flat("to_end"),
                    chunks.flat("dt"), pull.flatten(0, 1), *places, to_dt, to_a, to_skip,
                ],
            )  # fmt: skip
            span = slice(chunks.begin, chunks.begin + piece.count[0] * piece.count[1])
            for whole, part in ((grad_b, to_written), (grad_c, to_read)):
                whole[:, span] = piece.rowwise(part).transpose(2, 3).flatten(1, 2)
            grad_dt[:, span] = to_dt.unflatten(0, (len(x), -1)).transpose(2, 3).flatten(1, 2)
            grad_a += to_a.sum(0)
            grad_skip += to_skip.sum(0)
        return grad_x, grad_dt, grad_a, grad_b, grad_c, _in_heads(running, state), None, None, grad_skip


def _pieces(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor | None, chunk: int) -> list[_Piece]:
    """The sequence cut into pieces that fit a cache: whole chunks, and one for what is left."""
    batch, time, heads, width = x.shape
    size = min(chunk, time)
    whole = time // size * size
    found = []
    for begin, end, long in ((0, whole, size), (whole, time, time - whole)):
        if end > begin:
            some = None if starts is None else starts[:, begin:end]
            chunks = _Chunks.of(begin, long, dt[:, begin:end].detach(), a.detach(), some)
            together = max(1, _KEPT // (x[:, 0].numel() * long))
            found += chunks.pieces(together)
    sizes = (batch, b.shape[2], heads // b.shape[2], width)
    return [_Piece(chunks, b.detach(), c.detach(), sizes) for chunks in found]


def _in_groups(state: Tensor, groups: int) -> Tensor:
    """A new `[B, G, N, R · P]` from `[B, H, N, P]`."""
    split = state.detach().unflatten(1, (groups, -1)).transpose(2, 3)
    return split.clone(memory_format=torch.contiguous_format).flatten(3)


def _in_heads(state: Tensor, like: Tensor) -> Tensor:
    split = state.unflatten(3, (-1, like.shape[3])).transpose(2, 3)
    return split.clone(memory_format=torch.contiguous_format).flatten(1, 2)


def _over(work: Callable[..., None], tensors: list[Tensor]) -> None:
    """A pass over the first dimension of all of these, some of it a thread."""
    many = len(tensors[0])
    size = max(1, -(-many // torch.get_num_threads()))
    slices = [slice(i, min(i + size, many)) for i in range(0, many, size)]
    each(lambda _, some: work(*arrays(*(t[some] for t in tensors))), slices)
