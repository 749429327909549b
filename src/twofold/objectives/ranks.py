"""The other processes of a distributed training run, as far as a loss has to know of them.

Ranks are joined only where gradients are recorded. An evaluation under `torch.no_grad()` is a rank's own
business: it never waits for the others.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """The number of processes that train together; 1 outside distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process' number among them, from 0."""
    return dist.get_rank() if size() > 1 else 0


def joined() -> int:
    """The number of processes that a loss computed here spans: 1 where no gradient is recorded."""
    return size() if torch.is_grad_enabled() else 1


def total(value: Tensor) -> Tensor:
    """The sum of `value` over the joined ranks. No gradient flows through it."""
    value = value.detach()
    if joined() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def gather(rows: Tensor) -> Tensor:
    """The rows of all joined ranks, in the order of the ranks: `[n, …]` to `[n₀ + n₁ + …, …]`.

    Ranks may hold different numbers of rows. The gradient of a rank's rows is the sum of what every rank's
    loss sends to them. Where one process trains alone, `rows` come back untouched.
    """
    return _Gather.apply(rows) if joined() > 1 else rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        count = torch.tensor([rows.shape[0]], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(size())]
        dist.all_gather(counts, count)
        numbers = [int(n) for n in counts]
        # Collectives want equal shapes: every rank sends as many rows as the longest holds.
        padded = rows.new_zeros(max(numbers), *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        received = [torch.empty_like(padded) for _ in numbers]
        if padded.numel():
            dist.all_gather(received, padded)
        ctx.first, ctx.count = sum(numbers[: rank()]), rows.shape[0]
        return torch.cat([part[:n] for part, n in zip(received, numbers, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        if summed.numel():
            dist.all_reduce(summed)
        return summed[ctx.first : ctx.first + ctx.count]
