"""Which experts a token goes to: routers, and the losses that keep experts evenly used.

Shazeer et al. 2017, https://arxiv.org/abs/1701.06538 (top k); Fedus et al. 2021, https://arxiv.org/abs/2101.03961
(switch); Lewis et al. 2021, https://arxiv.org/abs/2103.16716 (balanced assignment); Zoph et al. 2022,
https://arxiv.org/abs/2202.08906 (z-loss)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
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
            raise UserError(f"TopK: {experts} experts, top-{k}; use k from 1 to {experts}")
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
    """The expert of each token under the assignment of highest total score with ⌊N / E⌋ or ⌈N / E⌉ tokens an expert."""
    from scipy.optimize import linear_sum_assignment

    count, experts = scores.shape
    values = scores.detach().double().cpu().numpy()
    whole, extra = divmod(count, experts)
    # One column a place: every expert has `whole` that must be filled, and one more that only `extra` of them fill.
    places = values.repeat(whole, axis=1) if whole else values[:, :0]
    expert_of = [e for e in range(experts) for _ in range(whole)]
    if extra:
        import numpy as np

        spread = float(np.ptp(values)) + 1.0
        # Filling all places that must be filled is worth more than any scores are.
        places = np.concatenate([places + spread * count, values], axis=1)
        expert_of += list(range(experts))
    rows, columns = linear_sum_assignment(places, maximize=True)
    chosen = torch.empty(count, dtype=torch.long)
    chosen[torch.as_tensor(rows)] = torch.as_tensor(expert_of)[torch.as_tensor(columns)]
    return chosen.to(scores.device)


def balance_loss(routing: Routing) -> Float[Tensor, ""]:
    """`E · Σ_e f_e · p_e` with f the share of tokens whose first choice is e and p the mean probability of e: 1 where
    all experts are used alike, E where one is used alone. Gradients go through p. Fedus et al. 2021, equation 4."""
    experts = routing.probabilities.shape[-1]
    first = F.one_hot(routing.index[:, 0], experts).to(routing.probabilities.dtype)
    return experts * (first.mean(0) * routing.probabilities.mean(0)).sum()


def z_loss(routing: Routing) -> Float[Tensor, ""]:
    """Mean square of the log of the summed exponentials of the gate's logits, which keeps them small."""
    return routing.logits.logsumexp(-1).square().mean()
