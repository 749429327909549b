"""Masked language modelling (Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.objectives.loss import IGNORED, Loss, average, token_loss


@dataclass(frozen=True)
class Tokens:
    """What hiding tokens needs to know of a vocabulary: its size, the mask's id, and ids that are left alone."""

    mask: int
    vocab: int
    protect: tuple[int, ...] = ()

    def arguments(self) -> dict[str, Any]:
        """As `mask_tokens` takes them."""
        return {"mask": self.mask, "vocab": self.vocab, "protect": self.protect}


def masked(logits: Float[Tensor, "*shape vocab"], labels: Int[Tensor, "*shape"]) -> Loss:
    """Cross-entropy at the labelled positions.

    Args:
        logits: scores of the token at each position.
        labels: the true token, `-100` where the position does not count.

    Returns:
        The mean over labelled positions, in nats (zero where there is none); figures `loss` and `accuracy`.
    """
    counts = labels != IGNORED
    # Few positions are labelled: only their rows go through the softmax.
    logits, labels = logits[counts], labels[counts]
    value = token_loss(logits, labels)
    accuracy = average((logits.detach().argmax(-1) == labels).float())
    return Loss(value, {"loss": value.detach(), "accuracy": accuracy})


def mask_tokens(
    ids: Int[Tensor, "batch time"],
    rate: float,
    generator: torch.Generator | None = None,
    *,
    mask: int,
    vocab: int,
    protect: Sequence[int] = (),
    real: Bool[Tensor, "batch time"] | None = None,
    split: tuple[float, float, float] = (0.8, 0.1, 0.1),
    words: Int[Tensor, "batch time"] | None = None,
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Choose tokens to be predicted, and hide them.

    In a row with n tokens that may be chosen, `rate · n` are, rounded up or down at random so that the mean is
    exact. Whole words are chosen in the same way: the last one only sometimes, so that the expected number of
    tokens stays `rate · n`.

    Args:
        ids: the tokens; they are not changed.
        rate: the share of tokens to predict, above 0 and at most 1.
        generator: the source of randomness, on the device of `ids`; None for torch's own.
        mask: the id of the mask token.
        vocab: the size of the vocabulary that random tokens are drawn from.
        protect: ids that are never chosen and never put in (separators, padding, the mask itself).
        real: False at padding, which is never chosen.
        split: shares of the chosen tokens that become the mask, become a random token, stay as they are.
        words: for whole words: the number of the word, in [0, time), that each token belongs to; -1 at
            tokens of no word, which must be protected or not real.

    Returns:
        The tokens with some hidden, and the labels: the true token where chosen, `-100` elsewhere.

    Raises:
        UserError: the rate or the split is out of range, or every token is protected.
    """
    if not 0 < rate <= 1:
        raise UserError(f"the mask rate is {rate}; give a share above 0 and at most 1")
    if min(split) < 0 or abs(sum(split) - 1) > 1e-6:
        raise UserError(f"the shares of masked, random and kept tokens are {split}; they must add up to 1")

    device = ids.device
    allowed = torch.ones(vocab, dtype=torch.bool, device=device)
    allowed[[i for i in {mask, *protect} if 0 <= i < vocab]] = False
    replacements = allowed.nonzero().squeeze(1)
    if len(replacements) == 0:
        raise UserError(f"all {vocab} tokens of the vocabulary are protected; leave some to be masked")

    def uniform() -> Tensor:
        return torch.rand(ids.shape, generator=generator, device=device, dtype=torch.float64)

    candidates = allowed[ids] if real is None else allowed[ids] & real
    chosen = _choose(candidates, rate, words, uniform)
    fate = uniform()
    hidden = torch.where(chosen & (fate < split[0]), mask, ids)
    draws = torch.randint(len(replacements), ids.shape, generator=generator, device=device)
    random = chosen & (fate >= split[0]) & (fate < split[0] + split[1])
    hidden = torch.where(random, replacements[draws], hidden)
    return hidden, torch.where(chosen, ids, IGNORED)


def _choose(candidates: Tensor, rate: float, words: Tensor | None, uniform: Callable[[], Tensor]) -> Tensor:
    """Whole words in random order until `rate` of a row's candidates are taken; bool `[batch, time]`."""
    score, luck = uniform(), uniform()
    if words is not None:
        words = words.clamp(min=0)
        score, luck = score.gather(1, words), luck.gather(1, words)
    score = score.masked_fill(~candidates, 2.0)
    ordered = score.sort(dim=1).values
    before = torch.searchsorted(ordered, score)  # candidates in words that come earlier
    length = torch.searchsorted(ordered, score, right=True) - before
    wanted = rate * candidates.sum(1, keepdim=True)
    # A word that would overshoot is taken with the probability that keeps the expected number exact.
    return candidates & (luck * length < wanted - before)
