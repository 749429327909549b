"""Positions that turn queries and keys, and ways to stretch them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import above_zero, at_least_one
from twofold.parts.part import Part
from twofold.parts.positions.base import KeyPositions, Position, Positions, frequencies
from twofold.parts.rules import visible


class Stretch(Part, abstract=True):
    """How rotary frequencies change to reach beyond the length they were trained for."""

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        """New frequencies `[d/2]`."""
        raise NotImplementedError


class LinearStretch(Stretch):
    """Positions divided by `factor`. Chen et al. 2023, https://arxiv.org/abs/2306.15595"""

    def __init__(self, factor: float) -> None:
        super().__init__()
        above_zero(type(self).__name__, factor=factor)
        self.factor = factor

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        return inverse / self.factor


class NtkStretch(Stretch):
    """A larger base: the highest frequency stays, the lowest is divided by `factor`, those between are bent.

    "NTK-aware" scaling; Peng et al. 2023, §3.1, https://arxiv.org/abs/2309.00071
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        above_zero(type(self).__name__, factor=factor)
        self.factor = factor

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        half = len(inverse)
        i = torch.arange(half, device=inverse.device, dtype=inverse.dtype)
        return inverse * self.factor ** -(i / max(half - 1, 1))


class Llama3Stretch(Stretch):
    """Long wavelengths are stretched by `factor`, short ones kept, those between blended (Llama 3.1).

    Args:
        factor: of the stretch.
        low, high: turns within the trained length: stretched below `low`, kept above `high`.
        trained: length the frequencies were trained for.
    """

    def __init__(self, factor: float, low: float, high: float, trained: int) -> None:
        super().__init__()
        at_least_one("Llama3Stretch", trained=trained)
        if not high > low:
            raise UserError(f"Llama3Stretch: high ({high}) must be above low ({low})")
        above_zero("Llama3Stretch", factor=factor)
        self.factor, self.low, self.high, self.trained = factor, low, high, trained

    def forward(self, inverse: Tensor, base: float) -> Tensor:
        turns = self.trained * inverse / (2 * math.pi)
        blend = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return blend * inverse + (1 - blend) * inverse / self.factor


@dataclass(frozen=True, eq=False)
class _Tables:
    positions: Tensor
    inverse: Tensor
    cos: Tensor
    sin: Tensor

    def serves(self, x: Tensor) -> bool:
        usable = torch.is_inference_mode_enabled() or not self.cos.is_inference()
        return usable and self.cos.dtype == x.dtype and self.cos.shape[-1] == x.shape[-1]

    def equal(self, positions: Tensor, inverse: Tensor) -> bool:
        """Whether another pass asks for the same; an accelerator, which would have to be waited for, does not look."""
        if not (positions.is_cpu and self.positions.is_cpu and visible(positions)):
            return False
        return torch.equal(self.positions, positions) and torch.equal(self.inverse, inverse)


class Rope(Position):
    """Queries and keys turned pairwise by angles that grow with position, so logits depend on distance alone.

    Su et al. 2021, https://arxiv.org/abs/2104.09864. Pairs are (i, i + d/2) as in Llama; `interleaved`: (2i, 2i + 1).

    Args:
        base: of the geometric frequencies.
        interleaved: neighbouring features form the pairs.
        fraction: share of each head's features that turn (the first ones).
        stretch: changes the frequencies to reach further.
    """

    needs_qk = True

    def __init__(
        self, base: float = 10000.0, interleaved: bool = False, fraction: float = 1.0, stretch: Stretch | None = None
    ) -> None:
        super().__init__()
        if base <= 1 or not 0 < fraction <= 1:
            raise UserError(f"Rope: base must be above 1 and fraction in (0, 1], not base={base}, fraction={fraction}")
        self.base, self.interleaved, self.fraction = base, interleaved, fraction
        self.stretch = stretch
        self._last: _Tables | None = None

    def check(self, dim: int, heads: int | None = None, head_dim: int | None = None) -> None:
        if head_dim is not None and (fit := self.head_width(head_dim)) != head_dim:
            raise UserError(
                f"position Rope turns pairs, and {int(head_dim * self.fraction)} features of a head of {head_dim} "
                f"turn; use head_dim={fit}"
            )

    def head_width(self, least: int) -> int:
        turned = max(2, int(least * self.fraction))
        turned += turned % 2
        width = max(least, int(turned / self.fraction))
        return width if int(width * self.fraction) >= turned else width + 1

    def rotate(self, q: Tensor, k: Tensor, positions_q: Positions, positions_k: KeyPositions) -> tuple[Tensor, Tensor]:
        return self.turn(q, positions_q), self.turn(k, positions_k)

    def turn(self, x: Tensor, positions: Tensor) -> Tensor:
        """Heads `[B, H, T, d]` turned to where they stand, `[1 or B, T]`."""
        turned = int(x.shape[-1] * self.fraction)
        rest = x[..., turned:]
        x = x[..., :turned]
        cos, sin = self._tables(x, positions)
        if self.interleaved:
            partner = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        else:
            a, b = x.chunk(2, dim=-1)
            partner = torch.cat((-b, a), dim=-1)
        x = partner.mul_(sin).addcmul_(x, cos)  # in place: with another tensor, long heads leave the cache
        return torch.cat((x, rest), dim=-1) if rest.shape[-1] else x

    def _tables(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin `[1 or B, 1, T, d]`; queries and keys, layers that share this part, and the next pass ask for
        the same ones."""
        last = self._last
        if last is not None and not last.serves(x):
            last = None
        if last is not None and last.positions is positions:
            return last.cos, last.sin
        inverse = frequencies(x.shape[-1], self.base, x)
        if self.stretch is not None:
            inverse = self.stretch(inverse, self.base)
        if last is not None and last.equal(positions, inverse):
            return last.cos, last.sin
        angles = positions[:, None, :, None] * inverse
        angles = angles.repeat_interleave(2, -1) if self.interleaved else torch.cat((angles, angles), -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        if visible(positions):
            self._last = _Tables(positions, inverse, cos, sin)
        return cos, sin
