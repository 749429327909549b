"""The protocol of every sequence mixer."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.caches import Cache
from twofold.parts.masks import Mask
from twofold.parts.part import Part

AnyMask = Mask | Tensor | None
"""What a mixer takes as its mask: a `Mask`, a bool `[B, T]` (padding, True = real), or None."""


class Mixer(Part, abstract=True):
    """Moves information along the sequence.

    A step is `forward` with a cache and one token; a whole sequence at once gives the same. What padded positions give is
    finite and unspecified.

    Attributes:
        dim: width of the states.
        causal: whether positions never ("yes"), always ("no") or as the mask says ("both") depend on later ones only.
        max_len: longest sequence; None: no limit.
        has_qk: has queries and keys, so it can carry any position.
    """

    dim: int
    causal: Literal["yes", "no", "both"] = "both"
    max_len: int | None = None
    has_qk: bool = False

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None, cache: Cache | None = None
    ) -> Float[Tensor, "batch time dim"]:
        raise NotImplementedError

    def new_cache(
        self, batch: int, max_len: int, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> Cache:
        """An empty cache for `batch` rows of at most `max_len` tokens; dtype and device default to the weights'.

        Raises:
            UserError: a mixer that cannot work step by step.
        """
        raise UserError(f"mixer {type(self).__name__} has no cache: it needs the whole sequence at once")

    def flops(self, time: int) -> int:
        """Multiply–adds, times two, for one row of `time` tokens."""
        raise NotImplementedError

    def matrix(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time time"]:
        """The mixing matrix: how much of each position's values every position takes.

        Raises:
            UserError: a mixer whose output is not linear in values.
        """
        raise UserError(f"mixer {type(self).__name__} has no mixing matrix")
