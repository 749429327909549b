"""Attention whose queries, keys and values are one projection: what compresses tokens towards subspaces."""

from __future__ import annotations

from typing import cast

from jaxtyping import Float
from torch import Tensor

from twofold.parts.linear import linear_flops
from twofold.parts.mixers.attention import Attention
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.norms import NoNorm
from twofold.parts.positions import Position, Rope


class MSSA(Attention):
    """Multi-head subspace self-attention: each head has one map U_k, which is query, key and value.

    SSA_k(Z) = (U_kᵀZ) softmax((U_kᵀZ)ᵀ(U_kᵀZ) / √d), joined by a learned map `out`: one approximate gradient step on
    the coding rate of the tokens against the subspaces U_k. Yu et al. 2023, equations 11 and 12,
    https://arxiv.org/abs/2311.13110 (there without 1/√d, which their implementation has).

    Args:
        dim, heads, position, causal: as `Attention` has them; dim must divide by heads.
    """

    @classmethod
    def examples(cls, dim: int) -> dict[str, Mixer]:
        return {"plain": cls(dim, 4), "causal-rope": cls(dim, 2, position=Rope(), causal=True)}

    def __init__(self, dim: int, heads: int, position: Position | None = None, causal: bool | None = None) -> None:
        super().__init__(dim, heads, position=position, causal=causal)
        self.key, self.value = NoNorm(), NoNorm()

    def maps(self, x: Float[Tensor, "batch time dim"]) -> tuple[Tensor, Tensor, Tensor]:
        u = self.split(self.query(x), self.heads)
        return u, u, u

    @property
    def subspaces(self) -> Float[Tensor, "heads p dim"]:
        """U_kᵀ of every head."""
        return cast(Tensor, self.query.weight).unflatten(0, (self.heads, self.head_dim))

    def flops(self, time: int) -> int:
        inner = self.heads * self.head_dim
        maps = linear_flops(self.query, time) + linear_flops(self.out, time)
        return maps + 4 * time * time * inner // (2 if self.causal == "yes" else 1)
