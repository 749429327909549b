"""A step of sparse coding as a channel mixer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import ChannelMixer
from twofold.parts.init import normal
from twofold.parts.masks import Mask


class ISTA(ChannelMixer):
    """One step of iterative shrinkage towards a non-negative sparse code of z in a square dictionary D, from z itself.

    `ReLU(z + η Dᵀ(z − D z) − η λ)`: it lowers ½‖z − D x‖² + λ‖x‖₁ where η ≤ 1/‖D‖². Yu et al. 2023, equation 17,
    https://arxiv.org/abs/2311.13110; for the wiring `one-skip`.

    Args:
        dim: width of the states, and number of atoms.
        step: η.
        sparsity: λ.
    """

    def __init__(self, dim: int, step: float = 0.1, sparsity: float = 0.1) -> None:
        super().__init__()
        at_least_one("ISTA", dim=dim)
        if step <= 0 or sparsity < 0:
            raise UserError(
                f"ISTA: step is {step} and sparsity {sparsity}; use a step above 0, a sparsity of 0 or more"
            )
        self.dim, self.step, self.sparsity = dim, step, sparsity
        self.dictionary = nn.Parameter(torch.empty(dim, dim))
        normal(self.dictionary, (2 / dim) ** 0.5)

    def forward(self, x: Float[Tensor, "batch time dim"], mask: Mask | None = None) -> Float[Tensor, "batch time dim"]:
        residual = x - F.linear(x, self.dictionary)
        return F.relu(x + self.step * (residual @ self.dictionary) - self.step * self.sparsity)

    def flops(self, time: int) -> int:
        return 4 * time * self.dim**2
