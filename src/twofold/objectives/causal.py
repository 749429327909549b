"""Next-token prediction."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.objectives.loss import IGNORED, Loss, token_loss


def causal(
    logits: Float[Tensor, "batch time vocab"],
    ids: Int[Tensor, "batch time"],
    counted: Bool[Tensor, "batch time"] | None = None,
    *,
    real: Bool[Tensor, "batch time"] | None = None,
) -> Loss:
    """Cross-entropy of every token given the tokens before it.

    The logits at position t are judged by the token at t + 1. The first token is nobody's target.

    Args:
        logits: scores of the next token; any float type, the loss is computed in float32 or better.
        ids: the tokens that were read.
        counted: the tokens that count as targets; None for all. Leave prompts out with it.
        real: False at padding, which is neither a target nor predicted from.

    Returns:
        The mean over the targets that count, in nats a token (zero where none does); figure `loss`.
    """
    targets = ids.new_full(ids.shape, IGNORED)
    targets[:, :-1] = ids[:, 1:]
    if counted is not None:
        targets[:, :-1].masked_fill_(~counted[:, 1:], IGNORED)
    if real is not None:
        targets[:, :-1].masked_fill_(~(real[:, 1:] & real[:, :-1]), IGNORED)
    value = token_loss(logits.flatten(0, 1), targets.flatten())
    return Loss(value, {"loss": value.detach()})
