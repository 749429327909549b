"""A short convolution and the SiLU behind it as one pass, compiled by numba: a position's sums are still in the first
cache when they go through the SiLU, and the gradient makes them again instead of reading them.

Imported where numba is installed (`pip install twofold[fast]`); `mixers.SiluConv` says what is computed.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twofold.parts import kernels
from twofold.parts.compiled import Rows, arrays, compiled, each, exp


@compiled
@no_type_check
def _sums(flat, begin, step, t, weight, bias, y):
    """`y = bias + Σ_k w_k x_{t-k}`, where x_0 begins at `begin`."""
    width = weight.shape[1]
    for e in range(width):
        y[e] = bias[e]
    for k in range(min(weight.shape[0], t + 1)):
        place = begin + (t - k) * step
        given, tap = flat[place : place + width], weight[k]
        for e in range(width):
            y[e] += tap[e] * given[e]


@compiled
@no_type_check
def _forward(flat, row, step, first, weight, bias, out):
    """`out` `[B, T, lanes]`; the lanes of x begin at `first` of each position."""
    for b in range(out.shape[0]):
        for t in range(out.shape[1]):
            y = out[b, t]
            _sums(flat, first + b * row, step, t, weight, bias, y)
            for e in range(weight.shape[1]):
                y[e] = y[e] / (np.float32(1.0) + exp(-y[e]))


@compiled
@no_type_check
def _backward(flat, row, step, first, weight, bias, given, to_x, to_weight, to_bias):
    """`given` and `to_x` `[B, T, lanes]`; the gradients of weight and bias are added to what is there."""
    width = weight.shape[1]
    slope = np.empty(width, np.float32)
    for b in range(given.shape[0]):
        for t in range(given.shape[1]):
            _sums(flat, first + b * row, step, t, weight, bias, slope)
            wanted, into = given[b, t], to_x[b, t]
            for e in range(width):
                share = np.float32(1.0) / (np.float32(1.0) + exp(-slope[e]))
                slope[e] = wanted[e] * share * (np.float32(1.0) + slope[e] * (np.float32(1.0) - share))
                to_bias[e] += slope[e]
                into[e] = np.float32(0.0)
            for k in range(min(weight.shape[0], t + 1)):
                place = first + b * row + (t - k) * step
                entered, tap, to_tap, into = flat[place : place + width], weight[k], to_weight[k], to_x[b, t - k]
                for e in range(width):
                    into[e] += tap[e] * slope[e]
                    to_tap[e] += slope[e] * entered[e]


class FusedConvSilu(torch.autograd.Function):
    """`SiLU(kernels.causal_conv(x, weight, bias))`, for float32 on a processor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows, out = Rows.of(x), x.new_empty(x.shape)

        def work(_: int, lanes: slice) -> None:
            some = out[..., lanes]
            part = some if some.is_contiguous() else some.new_empty(some.shape)
            _forward(*rows, lanes.start, *_lanes(lanes, weight, bias), part.numpy())
            if part is not some:
                some.copy_(part)

        each(work, _pieces(x.shape[2]))
        ctx.save_for_backward(x, weight, bias)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():
            return kernels.again(
                lambda x, weight, bias: F.silu(kernels.causal_conv(x, weight, bias)), (x, weight, bias), grad
            )
        rows, grad_x, grad_weight, grad_bias = Rows.of(x), *(t.new_empty(t.shape) for t in (x, weight, bias))

        def work(_: int, lanes: slice) -> None:
            to_x = grad.new_empty(grad[..., lanes].shape)
            to_weight, to_bias = (t.new_zeros(t[..., lanes].shape) for t in (weight, bias))
            given = grad[..., lanes].contiguous()
            known = _lanes(lanes, weight, bias)
            _backward(*rows, lanes.start, *known, *arrays(given, to_x, to_weight, to_bias))
            grad_x[..., lanes], grad_weight[..., lanes], grad_bias[lanes] = to_x, to_weight, to_bias

        each(work, _pieces(x.shape[2]))
        return grad_x, grad_weight, grad_bias


def _lanes(lanes: slice, *tensors: Tensor) -> list[np.ndarray]:
    return arrays(*(t[..., lanes].contiguous() for t in tensors))


def _pieces(width: int) -> list[slice]:
    size = max(1, -(-width // torch.get_num_threads()))
    return [slice(i, min(i + size, width)) for i in range(0, width, size)]
