"""How a mixture of experts uses its experts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts import MoE, Router, capacity_of
from twofold.parts.routing import Routing


@dataclass(frozen=True)
class ExpertUse:
    """What one mixture did with the tokens it saw.

    Args:
        name: of the part.
        load: the share of choices that went to each expert, `[E]`, sums to 1.
        entropy: of the load, as a share of the most that is possible: 1 where all are used alike.
        dropped: the share of choices that the training capacity would leave out (0 without one).
        specialisation: how much of a token's expert is known from its type, as a share of the load's entropy (0:
            nothing); None where no types were given.
    """

    name: str
    load: np.ndarray
    entropy: float
    dropped: float
    specialisation: float | None = None


@dataclass
class _Seen:
    routings: list[Routing] = field(default_factory=list)

    def __call__(self, module: nn.Module, inputs: Any, output: Routing) -> None:
        self.routings.append(output)


@torch.no_grad()
def expert_report(net: nn.Module, run: Callable[[], Any], types: Tensor | None = None) -> list[ExpertUse]:
    """What each mixture of experts does with its tokens.

    Args:
        net: a network with mixtures of experts.
        run: calls the network on tokens, once or more often.
        types: the type (id) of each token that is routed, in order, of any shape; sub-tokens take their token's.

    Raises:
        UserError: there are no experts in it, or types that do not fit the tokens.
    """
    mixtures = {name: part for name, part in net.named_modules() if isinstance(part, MoE)}
    if not mixtures:
        raise UserError("the network has no mixture of experts to report on; train one, such as moe-lm")
    seen = {name: _Seen() for name in mixtures}
    hooks = [part.router.register_forward_hook(seen[name]) for name, part in mixtures.items()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return [_use(name, part, seen[name].routings, types) for name, part in mixtures.items()]


def _use(name: str, part: MoE, routings: list[Routing], types: Tensor | None) -> ExpertUse:
    assert isinstance(part.router, Router)
    count = part.experts.count
    index = torch.cat([r.index for r in routings]).cpu()
    load = torch.bincount(index.flatten(), minlength=count).double()
    dropped = 0.0
    if part.capacity is not None:
        for routing in routings:
            limit = capacity_of(part.capacity, part.router.k, len(routing.index), count)
            over = torch.bincount(routing.index.flatten(), minlength=count) - limit
            dropped += float(over.clamp(min=0).sum()) / index.numel()
    share = (load / load.sum()).numpy()
    even = _entropy(share) / np.log(count) if count > 1 else 1.0
    return ExpertUse(name, share, even, dropped, _told(index, types, count))


def _told(index: Tensor, types: Tensor | None, count: int) -> float | None:
    """Mutual information of type and first choice, over the entropy of first choices."""
    if types is None:
        return None
    of = types.flatten().cpu()
    if len(index) % max(1, len(of)):
        raise UserError(f"{len(of)} token types do not fit {len(index)} routed tokens; give one for each real token")
    of = of.repeat_interleave(len(index) // len(of))
    _, of = of.unique(return_inverse=True)
    joint = torch.zeros(int(of.max()) + 1, count, dtype=torch.float64)
    joint.index_put_((of, index[:, 0]), torch.ones(len(of), dtype=torch.float64), accumulate=True)
    joint /= joint.sum()
    first = joint.sum(0).numpy()
    whole = _entropy(first)
    given = _entropy(joint.numpy().ravel()) - _entropy(joint.sum(1).numpy())
    return 0.0 if whole == 0 else max(0.0, (whole - given) / whole)


def _entropy(share: np.ndarray) -> float:
    kept = share[share > 0]
    return float(-(kept * np.log(kept)).sum())
