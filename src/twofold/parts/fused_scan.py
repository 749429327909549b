"""The selective scan as one pass, compiled by numba: a state stays in the first cache, and of `[time, state, inner]`
nothing is written but the states between pieces of the sequence, from which the gradient makes the others again.

Imported where numba is installed (`pip install twofold[fast]`); `scans` says what is computed.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twofold.parts.compiled import arrays, compiled, each, exp, summing

_LANES = 128  # of the inner dimension that go together
_PIECE = 8  # positions whose states are held at once in the backward pass


@compiled
@no_type_check
def _forward(u, dt, a, b, c, fresh, h, y, between, every):
    """`u`, `dt`, `y` `[B, T, lanes]`; `h` `[B, N, lanes]` goes from before the first position to behind the last one;
    `between` `[B, pieces, N, lanes]` gets it before every piece of so many positions."""
    rows, time, lanes = u.shape
    for row in range(rows):
        for t in range(time):
            keep = np.float32(0.0) if fresh[row, t] else np.float32(1.0)
            steps, given, out = dt[row, t], u[row, t], y[row, t]
            for e in range(lanes):
                out[e] = np.float32(0.0)
            for n in range(a.shape[0]):
                into, read, decays, state = b[row, t, n], c[row, t, n], a[n], h[row, n]
                if t % every == 0:
                    kept = between[row, t // every, n]
                    for e in range(lanes):
                        kept[e] = state[e]
                for e in range(lanes):
                    state[e] = keep * exp(steps[e] * decays[e]) * state[e] + steps[e] * given[e] * into
                    out[e] += read * state[e]


@summing
@no_type_check
def _product(x, y):
    total = np.float32(0.0)
    for e in range(x.shape[0]):
        total += x[e] * y[e]
    return total


@compiled
@no_type_check
def _backward(u, dt, a, b, c, fresh, between, gy, carry, gu, gdt, ga, gb, gc):
    """`carry` `[B, N, lanes]` goes from the gradient of the last state to that of the first; the gradients of `u` and
    `dt` are written, those of `a`, `b` and `c` added to what is there."""
    rows, time, lanes = u.shape
    states = a.shape[0]
    decay = np.empty((_PIECE, states, lanes), np.float32)
    h = np.empty((_PIECE + 1, states, lanes), np.float32)
    pushed = np.empty(lanes, np.float32)
    for row in range(rows):
        for piece in range((time - 1) // _PIECE, -1, -1):
            begin = piece * _PIECE
            size = min(_PIECE, time - begin)
            for n in range(states):
                start, kept = h[0, n], between[row, piece, n]
                for e in range(lanes):
                    start[e] = kept[e]
            for i in range(size):
                t = begin + i
                keep = np.float32(0.0) if fresh[row, t] else np.float32(1.0)
                steps, given = dt[row, t], u[row, t]
                for n in range(states):
                    into, decays, before, after, kept = b[row, t, n], a[n], h[i, n], h[i + 1, n], decay[i, n]
                    for e in range(lanes):
                        kept[e] = keep * exp(steps[e] * decays[e])
                        after[e] = kept[e] * before[e] + steps[e] * given[e] * into
            for i in range(size - 1, -1, -1):
                t = begin + i
                steps, given, wanted, to_input, to_step = dt[row, t], u[row, t], gy[row, t], gu[row, t], gdt[row, t]
                for e in range(lanes):
                    pushed[e] = steps[e] * given[e]
                    to_input[e] = np.float32(0.0)
                    to_step[e] = np.float32(0.0)
                for n in range(states):
                    into, read = b[row, t, n], c[row, t, n]
                    decays, to_decay, before, kept, total = a[n], ga[n], h[i, n], decay[i, n], carry[row, n]
                    gc[row, t, n] += _product(h[i + 1, n], wanted)
                    for e in range(lanes):
                        total[e] += read * wanted[e]
                        to_input[e] += into * total[e]
                    gb[row, t, n] += _product(total, pushed)
                    for e in range(lanes):
                        total[e] *= kept[e]
                        slope = total[e] * before[e]
                        to_decay[e] += slope * steps[e]
                        to_step[e] += slope * decays[e]
                for e in range(lanes):
                    to_step[e] += to_input[e] * given[e]
                    to_input[e] *= steps[e]


class FusedScan(torch.autograd.Function):
    """As `scans.selective_scan`, for float32 on a processor."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor, starts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        batch, time, inner = u.shape
        fresh = u.new_zeros(batch, time, dtype=torch.bool) if starts is None else starts.contiguous()
        b, c, y, last = b.contiguous(), c.contiguous(), u.new_empty(u.shape), u.new_empty(state.shape)
        pieces = _pieces(inner)
        every = _PIECE if any(ctx.needs_input_grad) else time  # nobody goes back through what is only read
        between = [u.new_empty(batch, -(-time // every), len(a), piece.stop - piece.start) for piece in pieces]

        def work(i: int, lanes: slice) -> None:
            given, steps, decays = (t[..., lanes].contiguous() for t in (u, dt, a))
            h, out = state[..., lanes].clone(memory_format=torch.contiguous_format), given.new_empty(given.shape)
            _forward(*arrays(given, steps, decays, b, c, fresh, h, out, between[i]), every)
            y[..., lanes], last[..., lanes] = out, h

        each(work, pieces)
        ctx.save_for_backward(u, dt, a, b, c, fresh, *between)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        u, dt, a, b, c, fresh, *between = ctx.saved_tensors
        grad_y, grad_last = grads
        grad_u, grad_dt, grad_a, grad_state = (t.new_empty(t.shape) for t in (u, dt, a, grad_last))
        # b and c serve all pieces, which run side by side: each has sums of its own.
        grad_b, grad_c = (t.new_zeros(len(between), *t.shape) for t in (b, c))

        def work(i: int, lanes: slice) -> None:
            given, steps, decays, wanted = (t[..., lanes].contiguous() for t in (u, dt, a, grad_y))
            carry = grad_last[..., lanes].clone(memory_format=torch.contiguous_format)
            to_input, to_step, to_decay = (
                given.new_empty(given.shape),
                given.new_empty(given.shape),
                given.new_zeros(decays.shape),
            )
            known = arrays(given, steps, decays, b, c, fresh, between[i], wanted)
            _backward(*known, *arrays(carry, to_input, to_step, to_decay, grad_b[i], grad_c[i]))
            grad_u[..., lanes], grad_dt[..., lanes] = to_input, to_step
            grad_a[..., lanes], grad_state[..., lanes] = to_decay, carry

        each(work, _pieces(u.shape[2]))
        return grad_u, grad_dt, grad_a, grad_b.sum(0), grad_c.sum(0), grad_state, None


def _pieces(inner: int) -> list[slice]:
    return [slice(i, min(i + _LANES, inner)) for i in range(0, inner, _LANES)]
