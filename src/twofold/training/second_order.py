"""Climbing a smooth function of few numbers with its curvature: AdaHessian's steps, on an input and not on weights.

Yao et al. 2021, "ADAHESSIAN", algorithm 1, https://arxiv.org/abs/2006.00719
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "rows dim"]
Ascent = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor, Tensor, int, torch.Generator], Tensor]
"""function, start, lowest, highest, steps, generator -> where it ends; see `ascend`."""

_BETAS = (0.9, 0.999)
_EPS = 1e-4


def hutchinson(gradient: Rows, x: Rows, generator: torch.Generator) -> Rows:
    """One sample of the diagonal of each row's Hessian, `z · (H z)` with z of ±1; exact where the Hessian is diagonal.

    Args:
        gradient: of a sum over rows that do not meet, made with `create_graph`.
        x: what it is the gradient by.
        generator: draws z.
    """
    z = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
    (product,) = torch.autograd.grad(gradient, x, z, retain_graph=True, allow_unused=True, materialize_grads=True)
    return z * product


def ascend(
    function: Callable[[Tensor], Tensor],
    start: Rows,
    low: Tensor,
    high: Tensor,
    steps: int,
    generator: torch.Generator,
    lr: float = 0.2,
) -> Rows:
    """Climbs from each row: momentum of gradients over the root of averaged squares of the Hessian's diagonal.

    Args:
        function: rows `[n, d]` to a value for each `[n]`.
        start: where it begins.
        low, high: bounds of every coordinate, `[d]`; a step ends there.
        steps: how many; the rate falls along a cosine.
        generator: of the samples of curvature.
        lr: the rate at the start, and the longest step of a coordinate.
    """
    return _climb(function, start, low, high, steps, lr, lambda g, x: hutchinson(g, x, generator))


def ascend_by_gradient(
    function: Callable[[Tensor], Tensor],
    start: Rows,
    low: Tensor,
    high: Tensor,
    steps: int,
    generator: torch.Generator,
    lr: float = 0.2,
) -> Rows:
    """As `ascend`, with squares of the gradient in the place of curvature (Adam): first order alone."""
    return _climb(function, start, low, high, steps, lr, lambda g, x: g.detach())


def _climb(
    function: Callable[[Tensor], Tensor],
    start: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    lr: float,
    scale: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    x, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, steps + 1):
        x.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
            size = scale(gradient, x).detach()
        first = _BETAS[0] * first + (1 - _BETAS[0]) * gradient.detach()
        second = _BETAS[1] * second + (1 - _BETAS[1]) * size.square()
        mean = first / (1 - _BETAS[0] ** step)
        root = (second / (1 - _BETAS[1] ** step)).sqrt()
        rate = 0.5 * lr * (1 + math.cos(math.pi * (step - 1) / steps))
        move = (mean / (root + _EPS)).clamp(-1, 1)  # flat places would throw it out of what is known
        x = (x.detach() + rate * move).clamp(low, high)
    return x.detach()
