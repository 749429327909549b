"""How a network is trained: the numbers a person may turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from twofold.errors import UserError
from twofold.training.stable_adamw import StableAdamW


@dataclass(frozen=True)
class Recipe:
    """An optimizer, a schedule of its learning rate, and clipping.

    Attributes:
        lr: the highest learning rate.
        warmup: the share of the budget over which the rate rises linearly from zero, in [0, 1].
        final: the rate at the end, as a share of `lr`, in [0, 1]; 1 keeps it constant.
        weight_decay: decoupled decay of matrices (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101);
            biases, gains and other vectors do not decay.
        betas: how long the two moments remember, each in [0, 1).
        eps: added to the second moment's root.
        clip: the highest norm of the whole gradient; 0 for no limit.
        accumulate: batches per step; their losses are averaged.
        dtype: what the forward pass computes in; weights and updates stay as the network holds them.
        optimizer: adamw, or stable-adamw (see `StableAdamW`).
        schedule: the way down from `lr` to `final`: along a cosine, or constant until the last `cooldown` (trapezoid).
        cooldown: the share of the budget over which a trapezoid falls, in [0, 1 - warmup].
    """

    lr: float = 1e-3
    warmup: float = 0.05
    final: float = 0.1
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip: float = 1.0
    accumulate: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "stable-adamw"] = "adamw"
    schedule: Literal["cosine", "trapezoid"] = "cosine"
    cooldown: float = 0.2

    def __post_init__(self) -> None:
        bounds = (
            ("lr", self.lr > 0, "above 0"),
            ("warmup", 0 <= self.warmup <= 1, "between 0 and 1"),
            ("final", 0 <= self.final <= 1, "between 0 and 1"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)"),
            ("eps", self.eps > 0, "above 0"),
            ("clip", self.clip >= 0, "at least 0"),
            ("accumulate", self.accumulate >= 1, "at least 1"),
            ("dtype", self.dtype in ("float32", "bfloat16"), "float32 or bfloat16"),
            ("optimizer", self.optimizer in OPTIMIZERS, " or ".join(OPTIMIZERS)),
            ("schedule", self.schedule in ("cosine", "trapezoid"), "cosine or trapezoid"),
            ("cooldown", 0 <= self.cooldown <= 1, "between 0 and 1"),
        )
        for name, good, allowed in bounds:
            if not good:
                raise UserError(f"the recipe's {name} is {getattr(self, name)!r}; it must be {allowed}")


def optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over `parameters`; matrices decay, vectors do not."""
    every = list(parameters)
    groups = [
        {"params": [p for p in every if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in every if p.ndim < 2], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[recipe.optimizer]([group for group in groups if group["params"]], recipe)


def _adamw(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    # On one core the fused kernel takes a fourth to a tenth of the time of the others.
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps, fused=fused or None)


def _stable_adamw(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    return StableAdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Recipe], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "stable-adamw": _stable_adamw,
}
"""Optimizers by name: groups of parameters and a recipe -> an optimizer."""
