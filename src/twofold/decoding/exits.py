"""Answers before the last layer: reading a state as the last one, and deciding when that is good enough.

Schuster et al. 2022 (CALM), https://arxiv.org/abs/2207.07061; "logit lens": nostalgebraist 2020,
https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import SequenceModel


@dataclass(frozen=True)
class ExitHead:
    """State of a layer → map → final norm → head.

    Args:
        net: its final norm and head are used; the states must not have gone through the norm.
        map: `[D, D]`, applied as `states @ map`; None: states are read as they are.

    Raises:
        UserError: the network has no head.
    """

    net: SequenceModel
    map: Tensor | None = None

    def __post_init__(self) -> None:
        if self.net.head is None:
            raise UserError("the network has no head over tokens, so its states cannot be read as one")

    def __call__(self, states: Tensor) -> Tensor:
        """Logits `[..., V]` from states `[..., D]`."""
        x = states if self.map is None else states @ self.map
        norm = self.net.stack.final_norm
        return self.net.apply_head(x if norm is None else norm(x))


def gap(logits: Tensor) -> Tensor:
    """Confidence: the likeliest token's probability minus the next one's, `[..., V] -> [...]`, in [0, 1]."""
    top = logits.float().softmax(-1).topk(2, dim=-1).values
    return top[..., 0] - top[..., 1]


@dataclass(frozen=True)
class Threshold:
    """How confident an early answer must be: `value`, or falling along the text, `0.9·value + 0.1·exp(−4t/N)`.

    The second is CALM's, with temperature 4: a mistake early in a text harms all that follows.
    """

    value: float
    falling: bool = False

    def __call__(self, places: Tensor, lengths: Tensor) -> Tensor:
        """The threshold at places t of texts of N tokens, `[n]` and `[n]` -> `[n]`."""
        places = places.double()
        if not self.falling:
            return torch.full_like(places, self.value)
        return 0.9 * self.value + 0.1 * torch.exp(-4 * places / lengths)


def first_exit(confidence: Tensor, threshold: Tensor) -> Tensor:
    """The first layer that is confident enough; as many as there are layers where none is.

    Args:
        confidence: of each layer in order, `[n, K]`.
        threshold: `[n]`.

    Returns:
        `[n]` in 0..K.
    """
    unsure = confidence < threshold.to(confidence.dtype)[:, None]
    return unsure.int().cumprod(1).sum(1)
