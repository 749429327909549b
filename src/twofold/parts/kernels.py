"""Passes over large states with gradients of their own, some rows at a time, so that what one step leaves in a
processor's cache is there for the next. Equal to the plain formulas to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_WORTH = 1 << 16  # numbers from which on rows are worth the loop
_FITS = 1 << 16  # numbers of a piece for each thread


def worth(x: Tensor, *weights: Tensor | None) -> bool:
    """Whether these passes are for such a tensor: a large one on a processor, in the precision of its weights."""
    same = all(w is None or w.dtype == x.dtype for w in weights)
    return x.is_cpu and same and x.dtype in (torch.float32, torch.float64) and x.numel() >= _WORTH


def rms_norm(x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float) -> Float[Tensor, "*batch dim"]:
    """`w · x / sqrt(mean(x²) + eps)` over the last dimension."""
    normed: Tensor = _RmsNorm.apply(x, weight, eps)
    return normed


def causal_conv(
    x: Float[Tensor, "batch time dim"], weight: Float[Tensor, "kernel dim"], bias: Float[Tensor, "dim"] | None
) -> Float[Tensor, "batch time dim"]:
    """`y_t = bias + Σ_k w_k x_{t-k}`, each feature for itself; before the first position there are zeros."""
    convolved: Tensor = _CausalConv.apply(x, weight, bias)
    return convolved


def add_scaled(
    y: Float[Tensor, "*batch dim"], x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"]
) -> Float[Tensor, "*batch dim"]:
    """`y + w · x`, a weight for each feature."""
    if not worth(x, y, weight):
        return torch.addcmul(y, x, weight)
    total: Tensor = _AddScaled.apply(y, x, weight)
    return total


def _rows(width: int) -> int:
    return max(1, _FITS * torch.get_num_threads() // width)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        width = x.shape[-1]
        flat, normed = x.reshape(-1, width), x.new_empty(x.shape)
        scales, rows = x.new_empty(len(flat), 1), _rows(width)
        for piece, scale, out in _split(rows, flat, scales, normed.view(-1, width)):
            torch.linalg.vector_norm(piece, dim=-1, keepdim=True, out=scale)
            scale.square_().div_(width).add_(eps).rsqrt_()
            torch.mul(piece, scale, out=out)
            out.mul_(weight)
        ctx.save_for_backward(x, weight, scales)
        ctx.eps = eps
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With `s = 1 / rms(x)`: `s (g w) - x s³ mean(g w x)` and `Σ s g x`."""
        x, weight, scales = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*again(lambda a, w: F.rms_norm(a, (a.shape[-1],), w, ctx.eps), (x, weight), grad), None)
        width = x.shape[-1]
        grad_x, grad_weight = x.new_empty(x.shape), torch.zeros_like(weight)
        flat, given, out = x.reshape(-1, width), grad.reshape(-1, width), grad_x.view(-1, width)
        for xs, gs, scale, into in _split(_rows(width), flat, given, scales, out):
            torch.mul(gs, xs, out=into)
            grad_weight += scale[:, 0] @ into
            pull = (into @ weight)[:, None].mul_(scale**3).div_(-width)
            torch.mul(gs, weight, out=into)
            into.mul_(scale).addcmul_(xs, pull)
        return grad_x, grad_weight, None


class _CausalConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        y = x.new_empty(x.shape)
        for rows, begin, end in _blocks(x):
            given, out = x[rows], y[rows]
            if bias is None:
                torch.mul(given[:, begin:end], weight[0], out=out[:, begin:end])
            else:
                torch.addcmul(bias, given[:, begin:end], weight[0], out=out[:, begin:end])
            for tap in range(1, len(weight)):
                first = max(begin, tap)
                out[:, first:end].addcmul_(given[:, first - tap : max(end - tap, 0)], weight[tap])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_bias = grad.sum((0, 1)) if ctx.biased else None
        if torch.is_grad_enabled():
            return (*again(_plain_conv, (x, weight), grad), grad_bias)
        grad_x, grad_weight = x.new_empty(x.shape), torch.zeros_like(weight)
        for rows, begin, end in _blocks(x):
            read, given, into = x[rows], grad[rows], grad_x[rows]
            torch.mul(given[:, begin:end], weight[0], out=into[:, begin:end])
            grad_weight[0] += (given[:, begin:end] * read[:, begin:end]).sum((0, 1))
            for tap in range(1, len(weight)):
                last = max(begin, min(end, x.shape[1] - tap))
                later = given[:, begin + tap : last + tap]
                into[:, begin:last].addcmul_(later, weight[tap])
                grad_weight[tap] += (later * read[:, begin:last]).sum((0, 1))
        return grad_x, grad_weight, grad_bias


class _AddScaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.addcmul(y, x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (grad, *again(torch.mul, (x, weight), grad))
        grad_x, grad_weight = x.new_empty(x.shape), torch.zeros_like(weight)
        for xs, gs, into in _pieces(x, grad, grad_x):
            grad_weight += torch.mul(xs, gs, out=into).sum(0)
            torch.mul(gs, weight, out=into)
        return grad, grad_x, grad_weight


def _plain_conv(x: Tensor, weight: Tensor) -> Tensor:
    padded = F.pad(x, (0, 0, len(weight) - 1, 0)).unfold(1, len(weight), 1)  # oldest first
    return (padded * weight.flip(0).T).sum(-1)


def again(
    plain: Callable[..., Any], inputs: Sequence[Tensor], grad: Tensor | tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """The gradient of some inputs through a plain formula (of one output, or several), which can itself be derived."""
    inputs = [t.view_as(t) if t.requires_grad else t for t in inputs]  # what leads from one input to another stays out
    wanted = [t for t in inputs if t.requires_grad]
    made = plain(*inputs)
    pairs = [(made, grad)] if isinstance(made, Tensor) else list(zip(made, grad, strict=True))
    outputs, grads = zip(*((out, given) for out, given in pairs if out.requires_grad), strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, grads, create_graph=True))
    return tuple(next(found) if t.requires_grad else None for t in inputs)


def _blocks(x: Float[Tensor, "batch time dim"]) -> Iterator[tuple[slice, int, int]]:
    """Sequences that go together, and from which position to which: one at a time where it is long."""
    batch, time, width = x.shape
    steps = min(time, _rows(width))
    together = max(1, _rows(width) // time)
    for first in range(0, batch, together):
        for begin in range(0, time, steps):
            yield slice(first, first + together), begin, min(begin + steps, time)


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of tensors of one shape, some at a time."""
    width = tensors[0].shape[-1]
    return _split(_rows(width), *(t.reshape(-1, width) for t in tensors))


def _split(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(t.split(rows) for t in tensors), strict=True)
