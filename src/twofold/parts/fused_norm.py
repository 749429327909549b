"""A gate and the RMS norm behind it as one pass, compiled by numba.

Imported where numba is installed (`pip install twofold[fast]`); `norms.GatedRMSNorm` says what is computed.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from twofold.parts import kernels
from twofold.parts.compiled import Rows, arrays, each, exp, summing


@summing
@no_type_check
def _forward(flat, places, gates, gate_places, weight, eps, out, scales):
    """`places` and `gate_places` `[n]`: where the positions of x and of the gate begin; `out` `[n, D]`."""
    width = weight.shape[0]
    for n in range(out.shape[0]):
        y, total = out[n], np.float32(0.0)
        x, gate = flat[places[n] : places[n] + width], gates[gate_places[n] : gate_places[n] + width]
        for e in range(width):
            y[e] = x[e] * gate[e] / (np.float32(1.0) + exp(-gate[e]))
        for e in range(width):
            total += y[e] * y[e]
        scale = np.float32(1.0) / np.sqrt(total / np.float32(width) + eps)
        scales[n] = scale
        for e in range(width):
            y[e] *= scale * weight[e]


@summing
@no_type_check
def _backward(flat, places, gates, gate_places, weight, scales, given, given_places, to_x, to_gate, to_weight):
    """With `v = x SiLU(gate)` and `s = 1 / rms(v)`: `∂v = s (∂y w) - v s³ mean(∂y w v)`."""
    width = weight.shape[0]
    opened, share = np.empty(width, np.float32), np.empty(width, np.float32)
    for n in range(to_x.shape[0]):
        x, gate = flat[places[n] : places[n] + width], gates[gate_places[n] : gate_places[n] + width]
        wanted, into, into_gate = given[given_places[n] : given_places[n] + width], to_x[n], to_gate[n]
        scale, pull = scales[n], np.float32(0.0)
        for e in range(width):
            share[e] = np.float32(1.0) / (np.float32(1.0) + exp(-gate[e]))
            opened[e] = gate[e] * share[e]
            v = x[e] * opened[e]
            to_weight[e] += scale * wanted[e] * v
            pull += wanted[e] * weight[e] * v
        pull *= scale * scale * scale / np.float32(width)
        for e in range(width):
            slope = scale * wanted[e] * weight[e] - x[e] * opened[e] * pull
            into[e] = slope * opened[e]
            into_gate[e] = slope * x[e] * (share[e] + opened[e] * (np.float32(1.0) - share[e]))


class FusedGatedNorm(torch.autograd.Function):
    """`kernels.rms_norm(x · SiLU(gate), weight, eps)` of `[B, T, D]`, for float32 on a processor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, scales = x.new_empty(x.shape), x.new_empty(x.shape[0] * x.shape[1])
        (flat, places), (gates, gate_places) = _places(x), _places(gate)

        def work(_: int, some: slice) -> None:
            at = places[some], gates, gate_places[some]
            _forward(flat, *at, *arrays(weight), np.float32(eps), *arrays(out.flatten(0, 1)[some], scales[some]))

        each(work, _pieces(len(scales)))
        ctx.save_for_backward(x, gate, weight, scales)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, weight, scales = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = kernels.again(
                lambda x, gate, weight: F.rms_norm(x * F.silu(gate), weight.shape, weight, ctx.eps),
                (x, gate, weight),
                grad,
            )
            return *plain, None
        pieces = _pieces(len(scales))
        grad_x, grad_gate, to_weight = (x.new_empty(s) for s in (x.shape, x.shape, (len(pieces), len(weight))))
        (flat, places), (gates, gate_places), (given, given_places) = (_places(t) for t in (x, gate, grad))
        to_weight.zero_()

        def work(i: int, some: slice) -> None:
            outs = grad_x.flatten(0, 1)[some], grad_gate.flatten(0, 1)[some], to_weight[i]
            known = flat, places[some], gates, gate_places[some], *arrays(weight, scales[some])
            _backward(*known, given, given_places[some], *arrays(*outs))

        each(work, pieces)
        return grad_x, grad_gate, to_weight.sum(0), None


def _places(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    rows = Rows.of(x)
    return rows.flat, (np.arange(x.shape[0])[:, None] * rows.row + np.arange(x.shape[1]) * rows.step).ravel()


def _pieces(rows: int) -> list[slice]:
    size = max(1, -(-rows // torch.get_num_threads()))
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]
