"""Dense networks as mixtures of experts that begin as copies of what was there.

Komatsuzaki et al. 2022, "Sparse Upcycling", https://arxiv.org/abs/2212.05055
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from twofold.errors import UserError
from twofold.parts import FFN, Dense, Experts, MoE, Part, Router, set_channels


def upcycle(
    net: Part, router: Callable[[int], Router], every: int = 2, capacity: float | None = None, balance: float = 0.01
) -> int:
    """Puts experts in the place of every `every`-th feed-forward part, in place, each a copy of it.

    Where a router's weights sum to 1 (as those of `TopK` do), the network answers as before.

    Args:
        net: a network of blocks.
        router: makes a router for features of a width.
        every: the last of so many layers gets experts.
        capacity, balance: as `MoE` has them.

    Returns:
        How many layers have experts now.

    Raises:
        UserError: a feed-forward part that is no plain one without biases, or no layer that would get experts.
    """
    count = 0

    def change(layer: int, old: Part | None) -> Part | None:
        nonlocal count
        if (layer + 1) % every:
            return old
        if not isinstance(old, FFN) or not all(type(p) is Dense and p.bias is None for p in _maps(old)):
            raise UserError(
                f"layer {layer} has no plain feed-forward part without biases, so there is nothing to make experts of"
            )
        count += 1
        spec, chosen = old.spec(), router(old.dim)
        experts = Experts(old.dim, old.hidden, chosen.experts, spec["activation"], spec["gate"])
        with torch.no_grad():
            for name, tensor in old.named_parameters():
                experts.get_parameter(name).copy_(tensor.expand(chosen.experts, -1, -1))
        made = MoE(chosen, experts, capacity, balance)
        return made.to(next(old.parameters()).device).train(old.training)

    set_channels(net, change)
    if not count:
        raise UserError(f"every={every} is more than there are layers; no layer would get experts")
    return count


def _maps(part: FFN) -> list[Part]:
    return [m for m in (part.up, part.gate, part.down) if m is not None]
