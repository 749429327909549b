"""Attention without value and output maps that starts as the identity."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.parts.linear import linear_flops
from twofold.parts.masks import Mask
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.norms import NoNorm
from twofold.parts.positions import Position, Rope
from twofold.parts.rules import Places


class ShapedAttention(Attention):
    """Each head mixes its own slice of the features by A = α·I + β·softmax(QKᵀ/√d) − γ·C.

    C is the attention of equal logits under the same mask (uniform; with a bias on the logits, the bias alone). Queries
    start at zero, so softmax = C and A = I: signals pass without a residual. He & Hofmann 2023, equation 6,
    https://arxiv.org/abs/2311.01906

    Args:
        dim, heads, position, causal: as `Attention` has them; dim must divide by heads.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"rope": cls(dim, 4, position=Rope()), "causal": cls(dim, 2, causal=True)}

    def __init__(self, dim: int, heads: int, position: Position | None = None, causal: bool | None = None) -> None:
        super().__init__(dim, heads, position=position, causal=causal)
        self.value, self.out = NoNorm(), NoNorm()
        nn.init.zeros_(cast(Tensor, self.query.weight))
        self.alpha, self.beta, self.gamma = (nn.Parameter(torch.ones(heads)) for _ in range(3))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        return self.probabilities(q, k, mask, queries, keys) @ v

    def probabilities(
        self, q: Tensor, k: Tensor, mask: Mask, queries: Places, keys: Places
    ) -> Float[Tensor, "batch heads time sources"]:
        """A, in place of probabilities: rows sum to α + β − γ."""
        found = super().probabilities(q, k, mask, queries, keys)
        plain = self._equal(q, mask, queries, keys)
        own = (queries.slots[:, None] == keys.slots[None, :]).to(found.dtype)
        alpha, beta, gamma = (x[:, None, None].to(found.dtype) for x in (self.alpha, self.beta, self.gamma))
        return alpha * own + beta * found - gamma * plain

    def _equal(self, q: Tensor, mask: Mask, queries: Places, keys: Places) -> Tensor:
        """C: what softmax gives where queries and keys say nothing."""
        bias = self.position.bias(queries.positions, keys.positions)

        def make() -> Tensor:
            seen = mask.dense(queries, keys)
            logits = torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias.to(q.dtype)
            blind = ~seen.any(-1, keepdim=True)
            logits = logits.masked_fill(~(seen | blind), float("-inf"))
            return cast(Tensor, logits.softmax(-1).masked_fill(blind, 0))

        return mask.keep(("equal", queries, keys, q.dtype), make) if bias is None else make()

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        maps = linear_flops(self.query, time) + linear_flops(self.key, time)
        return maps + 4 * time * time * inner // (2 if self.causal == "yes" else 1)
