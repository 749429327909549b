"""The protocol of every sequence mixer."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar, Literal

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

    A step is `forward` with a cache and one token; a whole sequence at once gives the same. What comes out at
    padded positions is finite and has no meaning.

    Attributes:
        dim: width of the states.
        causal: "yes": never looks ahead; "no": always two-way; "both": as the mask says.
        max_len: longest sequence; None: no limit.
        has_qk: has queries and keys, so it can carry any position.
        pads: sides on which padding changes nothing ("right" for mixers tied to absolute slots).
        leaks: how far outputs may move, in float32, when later inputs do (a convolution by FFT is not bit-exact).
        needs_memory: reads `mask.memory`.
        has_matrix: offers `matrix`, and with it `values` and `merge`.
        spans: arguments that are stretches of positions (a window, a kernel), which no text should be shorter than.
    """

    dim: int
    causal: Literal["yes", "no", "both"] = "both"
    max_len: int | None = None
    has_qk: bool = False
    pads: Literal["both", "right"] = "both"
    leaks: float = 0.0
    needs_memory: bool = False
    has_matrix: bool = False
    spans: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        """Small mixers of this kind by name, one for each way it is used: what the conformance suite runs over."""
        raise NotImplementedError(f"mixer {cls.__name__} needs examples, so that the conformance suite can test it")

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

    def like(self) -> Tensor:
        """A tensor of the weights' dtype and device."""
        floating = (t for t in chain(self.parameters(), self.buffers()) if t.is_floating_point())
        return next(floating, torch.empty(0))

    def stretches(self) -> dict[str, int]:
        """The sizes of `spans`, by name; those of mixers inside as well, the longest where they have the same name."""
        found = {name: int(getattr(self, name)) for name in self.spans}
        for part in self.children():
            if isinstance(part, Mixer):
                for name, size in part.stretches().items():
                    found[name] = max(size, found.get(name, 0))
        return found

    def within(self, span: str, longest: int) -> dict[str, int]:
        """The arguments with which one of the `stretches` is as long as it may be for inputs of that length: its own,
        first, and any other that must be smaller then."""
        inside = (part for part in self.children() if isinstance(part, Mixer) and span in part.stretches())
        found = (part.within(span, longest) for part in inside)
        return min(found, key=lambda sizes: sizes[span], default={span: longest})

    def flops(self, time: int) -> int:
        """Multiply–adds, times two, for one row of `time` tokens."""
        raise NotImplementedError

    def matrix(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads time sources"]:
        """The mixing matrix: how much of each position's values every position takes.

        `merge(matrix(x, mask) @ values(x, mask))` is `forward(x, mask)`.

        Raises:
            UserError: a mixer whose output is not linear in values.
        """
        raise UserError(f"mixer {type(self).__name__} has no mixing matrix")

    def values(
        self, x: Float[Tensor, "batch time dim"], mask: AnyMask = None
    ) -> Float[Tensor, "batch heads sources d"]:
        """What `matrix` mixes, `[B, H, S, d]`."""
        raise UserError(f"mixer {type(self).__name__} has no mixing matrix")

    def merge(self, heads: Float[Tensor, "batch heads time d"]) -> Float[Tensor, "batch time dim"]:
        """From mixed values to the output."""
        raise UserError(f"mixer {type(self).__name__} has no mixing matrix")
