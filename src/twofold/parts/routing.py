"""Which experts a token goes to: routers, and the losses that keep experts evenly used.

Shazeer et al. 2017, https://arxiv.org/abs/1701.06538 (top k); Fedus et al. 2021, https://arxiv.org/abs/2101.03961
(switch); Lewis et al. 2021, https://arxiv.org/abs/2103.16716 (balanced assignment); Zoph et al. 2022,
https://arxiv.org/abs/2202.08906 (z-loss)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.linear import Dense
from twofold.parts.part import Part


@dataclass(frozen=True)
class Routing:
    """Where tokens go.

    Args:
        index: the experts of each token, the first choice first, `[N, k]`.
        weight: what each expert's answer is multiplied by, `[N, k]`; carries the router's gradient.
        probabilities: of all experts, `[N, E]`, float32.
        logits: what they come from, `[N, E]`, float32.
    """

    index: Tensor
    weight: Tensor
    probabilities: Tensor
    logits: Tensor


class Router(Part, abstract=True):
    """Chooses experts for each token from its features alone. Works in float32 whatever the features are.

    Args:
        dim: width of the features.
        experts: how many there are.

    Attributes:
        k: experts that each token is sent to.
    """

    k: int = 1

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        at_least_one(type(self).__name__, dim=dim, experts=experts)
        self.dim, self.experts = dim, experts
        self.gate = Dense(dim, experts, bias=False)

    def scores(self, x: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens experts"]:
        """The gate's logits, in float32."""
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.gate.weight.float())

    def forward(self, x: Float[Tensor, "tokens dim"]) -> Routing:
        raise NotImplementedError

    def flops(self, tokens: int) -> int:
        """Multiply–adds, times two."""
        return self.gate.flops(tokens)


class TopK(Router):
    """The k experts of highest probability, weighted by their probabilities, renormalised over the k.

    Args:
        dim: width of the features.
        experts: how many there are.
        k: how many a token goes to.

    Raises:
        UserError: more than there are.
    """

    def __init__(self, dim: int, experts: int, k: int = 2) -> None:
        super().__init__(dim, experts)
        if not 1 <= k <= experts:
            near = "k=1" if k < 1 else f"k={experts} or less"
            raise UserError(f"TopK: {experts} experts, top-{k}; use {near}")
        self.k = k

    def forward(self, x: Float[Tensor, "tokens dim"]) -> Routing:
        logits = self.scores(x)
        probabilities = logits.softmax(-1)
        best, index = probabilities.topk(self.k, -1)
        return Routing(index, best / best.sum(-1, keepdim=True), probabilities, logits)


class Switch(Router):
    """The expert of highest probability, weighted by that probability.

    Args:
        dim: width of the features.
        experts: how many there are.
    """

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__(dim, experts)

    def forward(self, x: Float[Tensor, "tokens dim"]) -> Routing:
        logits = self.scores(x)
        probabilities = logits.softmax(-1)
        best, index = probabilities.topk(1, -1)
        return Routing(index, best, probabilities, logits)


class Balanced(Router):
    """While training, the assignment of highest total score under which all experts get equally many tokens (to one);
    afterwards each token's best expert. The expert's answer is weighted by the sigmoid of its score.

    The assignment looks at the whole batch, so it is for training only.

    Args:
        dim: width of the features.
        experts: how many there are.
    """

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__(dim, experts)

    def forward(self, x: Float[Tensor, "tokens dim"]) -> Routing:
        logits = self.scores(x)
        index = balanced_assignment(logits) if self.training else logits.argmax(-1)
        weight = logits.gather(-1, index[:, None]).sigmoid()
        return Routing(index[:, None], weight, logits.softmax(-1), logits)


ROUTERS: dict[str, type[Router]] = {"softmax-topk": TopK, "switch": Switch, "balanced": Balanced}
"""Routers by name."""


def balanced_assignment(scores: Float[Tensor, "tokens experts"]) -> Int[Tensor, " tokens"]:
    """The expert of each token under the assignment of highest total score with ⌊N / E⌋ or ⌈N / E⌉ tokens an expert.

    Every token begins with its best expert; then one at a time is moved on from experts that have too many to those
    that have too few, over the chain of experts that loses least (successive shortest paths). Its cost follows how many
    tokens must move; assignment to places of one token each follows the cube of all tokens.
    """
    values = np.nan_to_num(scores.detach().double().cpu().numpy(), posinf=1e300, neginf=-1e300)
    count, experts = values.shape
    least, most = count // experts, -(-count // experts)
    chosen = values.argmax(1)
    load = np.bincount(chosen, minlength=experts)
    loss = np.full((experts, experts), np.inf)  # of moving the token from e to f that loses least by it
    mover = np.zeros((experts, experts), dtype=np.int64)  # that token
    slack = 1e-12 * (1 + float(np.abs(values).max(initial=0)))
    stale: Iterable[int] = range(experts)
    while (load != np.clip(load, least, most)).any():
        for e in stale:
            own = np.flatnonzero(chosen == e)
            if own.size:
                lost = values[own, e, None] - values[own]
                mover[e], loss[e] = own[lost.argmin(0)], lost.min(0)
            else:
                loss[e] = np.inf
        full = load > most
        ends = (full, load < most) if full.any() else (load > least, load < least)
        path = _cheapest(loss, *ends, slack)
        for e, f in itertools.pairwise(path):
            chosen[mover[e, f]] = f
        load[path[0]] -= 1
        load[path[-1]] += 1
        stale = path
    return torch.as_tensor(chosen, dtype=torch.long).to(scores.device)


def _cheapest(loss: NDArray[np.float64], starts: NDArray[np.bool_], ends: NDArray[np.bool_], slack: float) -> list[int]:
    """The chain from any start to any end with the least total loss (Bellman & Ford: some losses are below zero)."""
    total = np.where(starts, 0.0, np.inf)
    before = np.full(len(loss), -1)
    for _ in range(len(loss)):
        through = total[:, None] + loss
        found = through.min(0)
        better = found < total - slack  # by more than rounding, so that no chain bites its own tail
        if not better.any():
            break
        before[better] = through.argmin(0)[better]
        total[better] = found[better]
    chain = [int(np.where(ends, total, np.inf).argmin())]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return chain[::-1]


def balance_loss(routing: Routing) -> Float[Tensor, ""]:
    """`E · Σ_e f_e · p_e` with f the share of tokens whose first choice is e and p the mean probability of e: 1 where
    all experts are used alike, E where one is used alone. Gradients go through p. Fedus et al. 2021, equation 4."""
    experts = routing.probabilities.shape[-1]
    first = F.one_hot(routing.index[:, 0], experts).to(routing.probabilities.dtype)
    return experts * (first.mean(0) * routing.probabilities.mean(0)).sum()


def z_loss(routing: Routing) -> Float[Tensor, ""]:
    """Mean square of the log of the summed exponentials of the gate's logits, which keeps them small."""
    return routing.logits.logsumexp(-1).square().mean()
