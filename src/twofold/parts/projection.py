"""A linear map between widths that starts without losing more than it must."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.linear import Dense, linear_flops
from twofold.parts.linear import linear as make_linear
from twofold.parts.part import Part


class Projection(Part):
    """`x W` with rows or columns of W orthonormal at the start: the identity where both widths are equal.

    Dot products of a pretrained network survive it as they are when it does not narrow (Saxe et al. 2014,
    https://arxiv.org/abs/1312.6120, on orthogonal starts).

    Args:
        dim: width that goes in.
        out: width that comes out.
        linear: kind of the linear layer.
    """

    def __init__(self, dim: int, out: int, linear: str = "dense") -> None:
        super().__init__()
        at_least_one("Projection", dim=dim, out=out)
        self.map = make_linear(dim, out, bias=False, kind=linear)
        if isinstance(self.map, Dense) and not self.map.weight.is_meta:
            nn.init.eye_(self.map.weight) if dim == out else nn.init.orthogonal_(self.map.weight)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch out"]:
        projected: Tensor = self.map(x)
        return projected


class Resize(Projection):
    """A projection that stands between blocks of different widths: mask and cache are not read."""

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: object = None, cache: object = None
    ) -> Float[Tensor, "batch time out"]:
        return super().forward(x)

    def new_cache(self, *given: object) -> None:
        """There is nothing to remember."""

    def flops(self, time: int) -> int:
        """Multiply–adds, times two, for one row of `time` tokens."""
        return linear_flops(self.map, time)


class StandIn(Part):
    """A linear map without bias in the place of a mixer, a channel mixer or a norm: mask and cache are not read."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.map = Dense(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time dim"], mask: object = None, cache: object = None
    ) -> Float[Tensor, "batch time dim"]:
        mapped: Tensor = self.map(x)
        return mapped


def principal(vectors: Float[Tensor, "n dim"], width: int) -> Dense:
    """The map onto the `width` directions in which the vectors vary most, around their mean (PCA).

    Pearson 1901, https://doi.org/10.1080/14786440109462720. Vectors that were not among those given are mapped alike.

    Raises:
        UserError: `width` is above the vectors' own, or above their number.
    """
    at_least_one("principal", width=width)
    if width > min(vectors.shape):
        raise UserError(f"{width} principal components need as many vectors and coordinates; there are {vectors.shape}")
    mean = vectors.double().mean(0)
    directions = torch.linalg.svd(vectors.double() - mean, full_matrices=False).Vh[:width]
    made = Dense(vectors.shape[1], width)
    with torch.no_grad():
        made.weight.copy_(directions)
        made.bias.copy_(-directions @ mean)
    return made
