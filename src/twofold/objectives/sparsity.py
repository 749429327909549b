"""What keeps vectors over a vocabulary sparse."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from twofold.objectives import ranks
from twofold.objectives.loss import full_precision


def flops(weights: Float[Tensor, "batch vocab"], *, gather: bool = True) -> Float[Tensor, ""]:
    """`Σ_v (mean_batch |w_v|)²`: the multiplications that a score is expected to take, made smooth.

    Paria et al. 2020, https://arxiv.org/abs/2004.05665, equation 3. Terms that many texts use cost most.

    Args:
        weights: one row a text.
        gather: in distributed training, the mean is over the batch of all ranks.
    """
    weights = full_precision(weights)
    if gather and ranks.joined() > 1:
        weights = ranks.gather(weights)
    return weights.abs().mean(0).square().sum()


def quadratic(progress: float, until: float) -> float:
    """A factor that rises as the square of `progress`, from 0 to 1 at `until`, and stays there.

    Formal et al. 2021, https://arxiv.org/abs/2107.05720, section 4. With `until` 0 it is 1 throughout.
    """
    return 1.0 if progress >= until else (progress / until) ** 2
