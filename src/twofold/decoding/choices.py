"""How the next token is chosen from its logits: processors change the logits, a choice draws from them.

A processor is any callable `(logits [B, V], ids [B, T], real [B, T]) -> logits [B, V]`, where `ids` are the tokens so
far and `real` is False on padding. A choice is any callable `logits [B, V] -> ids [B]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

Processor = Callable[[Tensor, Tensor, Tensor], Tensor]
Choice = Callable[[Tensor], Tensor]


def greedy(logits: Tensor) -> Tensor:
    """The most likely token of each row, `[B, V] -> [B]`; the lowest id where several are equal."""
    return logits.argmax(-1)


class Sample:
    """Draws each row's token from `softmax(logits)`, `[B, V] -> [B]`, with a generator of its own.

    The draw is the arg max of logits plus Gumbel noise, which is exact, needs no normalisation,
    and stays valid when processors have set most logits to minus infinity.

    Args:
        seed: of the generator; the same seed gives the same tokens.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor) -> Tensor:
        uniform = torch.rand(logits.shape, generator=self.generator, dtype=torch.float64)
        noise = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
        return (logits.double() + noise.to(logits.device)).argmax(-1)


@dataclass(frozen=True)
class Temperature:
    """Divides the logits by `value` > 0: below 1 sharper, above 1 flatter."""

    value: float

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ValueError(f"a temperature is above 0, got {self.value}; for the most likely token choose greedily")

    def __call__(self, logits: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        return logits / self.value


@dataclass(frozen=True)
class TopK:
    """Keeps the `k` likeliest tokens of each row and whatever equals the last of them."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"top-k keeps at least 1 token, got {self.k}")

    def __call__(self, logits: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        least = logits.topk(min(self.k, logits.shape[-1])).values[:, -1:]
        return logits.masked_fill(logits < least, -math.inf)


@dataclass(frozen=True)
class TopP:
    """Keeps the fewest likeliest tokens whose probabilities sum to at least `p`, 0 < p <= 1.

    Holtzman et al. 2020 (nucleus sampling), https://arxiv.org/abs/1904.09751
    """

    p: float

    def __post_init__(self) -> None:
        if not 0 < self.p <= 1:
            raise ValueError(f"top-p lies in (0, 1], got {self.p}")

    def __call__(self, logits: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        share = ordered.softmax(-1)
        before = share.cumsum(-1) - share
        dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= self.p)
        return logits.masked_fill(dropped, -math.inf)


@dataclass(frozen=True)
class Forbid:
    """Rules the given tokens out."""

    ids: Collection[int]

    def __call__(self, logits: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(sorted(self.ids), device=logits.device), -math.inf)


@dataclass(frozen=True)
class RepetitionPenalty:
    """Makes tokens that occurred less likely: a positive logit is divided by `value` >= 1, a negative one multiplied.

    Keskar et al. 2019 (CTRL), section 4.1, https://arxiv.org/abs/1909.05858
    """

    value: float

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"a repetition penalty is at least 1, got {self.value}")

    def __call__(self, logits: Tensor, ids: Tensor, real: Tensor) -> Tensor:
        seen = torch.zeros_like(logits).scatter_add(-1, ids, real.to(logits.dtype)) > 0
        return torch.where(seen, torch.where(logits > 0, logits / self.value, logits * self.value), logits)


def sampling(
    temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None, seed: int = 0
) -> tuple[Choice, tuple[Processor, ...]]:
    """The usual settings as a choice and its processors, in the usual order: temperature, top-k, top-p.

    Args:
        temperature: 0 chooses the most likely token, and the rest is ignored.
        top_k: keep so many tokens.
        top_p: keep tokens up to this probability.
        seed: of the draws.
    """
    if temperature == 0:
        return greedy, ()
    processors: list[Processor] = [Temperature(temperature)]
    if top_k is not None:
        processors.append(TopK(top_k))
    if top_p is not None:
        processors.append(TopP(top_p))
    return Sample(seed), tuple(processors)
