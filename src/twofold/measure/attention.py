"""Where networks attend, and how differently two of them do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel
from twofold.parts.mixers import AnyMask
from twofold.parts.trace import Tap, blocks, trace


def attention_maps(net: SequenceModel, ids: Int[Tensor, "batch time"], mask: AnyMask = None) -> list[Tensor]:
    """Where each layer attends: `[B, H, T, T]` a layer, rows summing to one.

    Raises:
        UserError: a layer whose mixer has no mixing matrix.
    """
    taps = [Tap(layer, "mixer", "matrix") for layer in range(len(blocks(net)))]
    with torch.inference_mode(), trace(net, taps) as seen:
        net.states(ids, Mask.of(mask))
    return [seen[tap] for tap in taps]


def attention_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[float]:
    """How differently two networks attend on the same input, a layer at a time, in nats (0 to ln 2).

    For two heads: the Jensen–Shannon divergence of their rows, averaged over rows and sequences. For a layer: the mean
    over pairs of heads, matched one to one so that it is least (heads have no order).

    Args:
        first, second: `[B, H, T, T]` a layer, of equal shapes.
    """
    if len(first) != len(second):
        raise UserError(f"the networks have {len(first)} and {len(second)} layers; compare networks of equal depth")
    distances = []
    for a, b in zip(first, second, strict=True):
        table = torch.stack([_divergence(a[:, h, None], b).mean((0, 2)) for h in range(a.shape[1])]).double()
        rows, columns = linear_sum_assignment(table.numpy())
        distances.append(float(table[rows, columns].mean()))
    return distances


def _divergence(p: Float[Tensor, "batch #heads time time"], q: Float[Tensor, "batch heads time time"]) -> Tensor:
    """Jensen–Shannon divergence of rows, `[B, H, T]`."""
    middle = (p + q) / 2
    return (_entropy(middle) - (_entropy(p) + _entropy(q)) / 2).clamp_min(0)


def _entropy(p: Tensor) -> Tensor:
    return -torch.xlogy(p, p).sum(-1)
