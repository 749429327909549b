"""Positions that act on attention as a whole: a factor on the logits, or on the probabilities."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.positions.base import KeyPositions, Over, Position, Positions


class LogScale(Position):
    """No position but a factor on the logits that grows beyond the trained length: 1 + a · ln(max(1, t / T)).

    It sharpens attention over more keys than there were in training, and is 1 inside the trained length.
    Puvvada et al. 2025, https://arxiv.org/abs/2504.08719

    Args:
        trained: the trained length T; t counts tokens up to the query, itself included.
        strength: a; 0 does nothing.
    """

    needs_qk = True

    def __init__(self, trained: int, strength: float = 0.0) -> None:
        super().__init__()
        at_least_one("LogScale", trained=trained)
        if strength < 0:
            raise UserError(f"LogScale: strength is {strength}; it must be at least 0")
        self.trained, self.strength = trained, strength

    def scale(self, positions_q: Positions) -> Float[Tensor, "rows time"] | None:
        if not self.strength:
            return None
        return 1 + self.strength * ((positions_q + 1) / self.trained).clamp_min(1).log()


class Urpe(Over):
    """Attention's probabilities times a learned number for each head and distance, so that rows need not sum to 1.

    Softmax with any relative bias gives equal outputs on a constant sequence, so no depth can tell positions apart;
    with these factors it can. Luo et al. 2022, https://arxiv.org/abs/2205.13401

    Args:
        heads: of the attention that carries it.
        max_len: distances below it have a number of their own; beyond, the last one is repeated.
        base: another position beneath (its bias or rotation).
    """

    after_softmax = True

    def __init__(self, heads: int, max_len: int, base: Position | None = None) -> None:
        super().__init__(heads, base)
        at_least_one("Urpe", max_len=max_len)
        self.reach = max_len
        # One vector, as matrices would decay: a factor should not go to zero.
        self.coefficients = nn.Parameter(torch.ones((2 * max_len - 1) * heads))

    def after(self, p: Tensor, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        p = super().after(p, positions_q, positions_k)
        distance = positions_k[:, None, :] - positions_q[:, :, None]
        index = distance.clamp(1 - self.reach, self.reach - 1) + self.reach - 1
        factors = self.coefficients.view(-1, self.heads)[index].permute(0, 3, 1, 2)
        return p * factors.to(p.dtype)


class Reciprocal(Over):
    """Attention's probabilities divided by one plus the distance; rows then sum to less than 1.

    Li 2024, https://arxiv.org/abs/2410.18441, the factor form of `Harmonic`.

    Args:
        heads, base: as `Over` has them.
    """

    after_softmax = True

    def after(self, p: Tensor, positions_q: Positions, positions_k: KeyPositions) -> Tensor:
        distance = (positions_q[:, :, None] - positions_k[:, None, :]).abs()
        return super().after(p, positions_q, positions_k) / (1 + distance[:, None]).to(p.dtype)
