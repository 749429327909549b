"""Attention whose logits are a learned bilinear form of queries and keys."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts.init import normal
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.positions import Position, Rope


class MultiplicativeAttention(Attention):
    """Attention with logits `qᵀ W k / √d`, a matrix W `[d, d]` in each head; W = identity is `Attention`.

    Luong et al. 2015 (the score `general`), https://arxiv.org/abs/1508.04025; inside a Transformer: Tuli et al. 2022
    (weighted multiplicative attention), https://arxiv.org/abs/2205.11656. The position turns `qᵀ W` and k.

    Args:
        dim, heads, position, causal: as `Attention` has them.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, 4), "causal-rope": cls(dim, 2, position=Rope(), causal=True)}

    def __init__(self, dim: int, heads: int, position: Position | None = None, causal: bool | None = None) -> None:
        super().__init__(dim, heads, position=position, causal=causal)
        self.score = nn.Parameter(torch.empty(heads, self.head_dim, self.head_dim))
        normal(self.score, self.head_dim**-0.5)

    def maps(self, x: Float[Tensor, "batch time dim"]) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().maps(x)
        return q @ self.score, k, v

    def flops(self, time: int) -> int:
        return super().flops(time) + 2 * time * self.score.numel()
