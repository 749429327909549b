"""How many nats it takes to code vectors up to an error: how spread out they are.

Ma, Derksen, Hong & Wright 2007, https://doi.org/10.1109/TPAMI.2007.1085; Yu et al. 2023, https://arxiv.org/abs/2311.13110
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def coding_rate(z: Float[Tensor, "*batch tokens dim"], error: float = 0.5) -> Float[Tensor, "*batch"]:
    """R(Z) = ½ logdet(I + d/(N ε²) ZᵀZ) of N vectors of width d, by the smaller of the two Gram matrices."""
    count, dim = z.shape[-2:]
    gram = z @ z.mT if count < dim else z.mT @ z
    eye = torch.eye(gram.shape[-1], dtype=z.dtype, device=z.device)
    return 0.5 * torch.linalg.slogdet(eye + dim / (count * error**2) * gram).logabsdet


def subspace_rate(
    z: Float[Tensor, "*batch tokens dim"], subspaces: Float[Tensor, "heads p dim"], error: float = 0.5
) -> Float[Tensor, "*batch"]:
    """R^c(Z | U) = Σ_k ½ logdet(I + p/(N ε²) (U_kᵀZ)ᵀ(U_kᵀZ)): the rate of the vectors as seen in each subspace.

    Args:
        subspaces: U_kᵀ of every subspace.
    """
    return coding_rate(z[..., None, :, :] @ subspaces.mT, error).sum(-1)
