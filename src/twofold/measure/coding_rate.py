"""How many nats it takes to code vectors up to an error: how spread out they are.

Ma, Derksen, Hong & Wright 2007, https://doi.org/10.1109/TPAMI.2007.1085; Yu et al. 2023, https://arxiv.org/abs/2311.13110
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from scipy.stats import spearmanr
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts import MSSA
from twofold.parts.trace import Tap, blocks, trace


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


@dataclass(frozen=True)
class Depths:
    """What tokens are like after each layer.

    Args:
        rate: R^c after compression, of tokens of length one, in the layer's own subspaces of unit directions, in nats.
        nonzero: share of numbers that are not zero after the step of sparse coding.
        orthogonality: mean length of the overlap between directions of a head, beside their own (0: orthogonal).
    """

    rate: tuple[float, ...]
    nonzero: tuple[float, ...]
    orthogonality: float

    @staticmethod
    def trend(values: tuple[float, ...]) -> float:
        """How steadily values fall with depth: 1 in every layer, -1: they rise."""
        return -float(spearmanr(range(len(values)), values).statistic) if len(set(values)) > 1 else 0.0


_SEEN = (("block", "in"), ("mixer", "out"), ("block", "out"))


@torch.no_grad()
def depths(net: nn.Module, run: Callable[[], Bool[Tensor, "batch time"] | None]) -> Depths:
    """What tokens are like after each layer of a network of CRATE layers.

    Args:
        net: whose every mixer is multi-head subspace self-attention, and whose channel mixers are sparse coding.
        run: passes inputs through it once; gives which tokens are real, or None where all are.

    Raises:
        UserError: a layer that is no CRATE layer.
    """
    every = [block for _, block in blocks(net)]
    if not all(isinstance(block.mixer, MSSA) for block in every):
        raise UserError("crate explains models of CRATE layers; train one: twofold fit crate")
    places = [(i, part, side) for i in range(len(every)) for part, side in _SEEN]
    with trace(net, [Tap(*place) for place in places]) as seen:  # type: ignore[arg-type]
        real = run()
    rate, nonzero, overlap = [], [], []
    for i, block in enumerate(every):
        given, mixed, out = (seen[Tap(i, *place)] for place in _SEEN)  # type: ignore[arg-type]
        bases = F.normalize(block.mixer.subspaces, dim=-1)  # type: ignore[union-attr, arg-type]
        half = F.normalize(given + mixed, dim=-1)
        kept = [slice(None)] * len(half) if real is None else list(real)
        rate.append(float(np.mean([float(subspace_rate(z[k], bases)) for z, k in zip(half, kept, strict=True)])))
        chosen = out if real is None else out[real]
        nonzero.append(float((chosen != 0).float().mean()))
        products = bases @ bases.mT
        overlap.append(float((products - torch.eye(products.shape[-1])).abs().mean()))
    return Depths(tuple(rate), tuple(nonzero), float(np.mean(overlap)))
