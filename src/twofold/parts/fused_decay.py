"""The matrix by which heads mix a chunk of an SSD scan, made in one pass by what numba compiles: only what is seen is
computed, and the differences of log decays are never written.

Imported where numba is installed (`pip install twofold[fast]`); `kernels` says what is computed.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from twofold.parts import kernels
from twofold.parts.compiled import arrays, compiled, each, exp

_CHUNKS = 8  # that go together


@compiled
@no_type_check
def _forward(met, log, out):
    """`met` `[J, Q, Q]`, `log` `[J, R, Q]`, `out` `[J, R, Q, Q]`."""
    chunks, heads, size = log.shape
    for j in range(chunks):
        for r in range(heads):
            falls = log[j, r]
            for i in range(size):
                row, seen, here = out[j, r, i], met[j, i], falls[i]
                for k in range(i + 1):
                    row[k] = seen[k] * exp(here - falls[k])
                for k in range(i + 1, size):
                    row[k] = np.float32(0.0)


@compiled
@no_type_check
def _backward(met, log, given, to_met, to_log):
    """Both gradients are added to what is there."""
    chunks, heads, size = log.shape
    decays = np.empty(size, np.float32)
    for j in range(chunks):
        for r in range(heads):
            falls, to_falls = log[j, r], to_log[j, r]
            for i in range(size):
                wanted, seen, to_seen, here = given[j, r, i], met[j, i], to_met[j, i], falls[i]
                for k in range(i + 1):
                    decays[k] = wanted[k] * exp(here - falls[k])
                    to_seen[k] += decays[k]
                    decays[k] *= seen[k]
                    to_falls[k] -= decays[k]
                total = np.float32(0.0)
                for k in range(i + 1):
                    total += decays[k]
                to_falls[i] += total


class FusedDecay(torch.autograd.Function):
    """As `kernels.decayed`, for float32 on a processor."""

    @staticmethod
    def forward(ctx: Any, met: Tensor, log: Tensor) -> Tensor:
        met, log = met.contiguous(), log.contiguous()
        out = torch.empty(*log.shape, log.shape[-1])
        flat = met.flatten(0, -3), log.flatten(0, -3), out.flatten(0, -4)
        each(lambda _, some: _forward(*arrays(*(t[some] for t in flat))), _pieces(len(flat[0])))
        ctx.save_for_backward(met, log)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        met, log = ctx.saved_tensors
        if torch.is_grad_enabled():
            return kernels.again(kernels.decayed, (met, log), grad)
        grad_met, grad_log = torch.zeros_like(met), torch.zeros_like(log)
        flat = [t.flatten(0, -3) for t in (met, log)]
        flat += [grad.contiguous().flatten(0, -4), grad_met.flatten(0, -3), grad_log.flatten(0, -3)]
        each(lambda _, some: _backward(*arrays(*(t[some] for t in flat))), _pieces(len(flat[0])))
        return grad_met, grad_log


def _pieces(chunks: int) -> list[slice]:
    return [slice(i, min(i + _CHUNKS, chunks)) for i in range(0, chunks, _CHUNKS)]
