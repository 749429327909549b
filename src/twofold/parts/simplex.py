"""Classifiers whose classes are directions, more than are in use: a class that comes later has its own ready."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.init import normal
from twofold.parts.part import Part


def simplex(classes: int) -> Float[Tensor, "classes dim"]:
    """The vertices of the regular simplex around the origin, `[K, K - 1]`: norms 1, cosines −1/(K−1).

    Columns of Helmert's matrix, whose rows are orthonormal and sum to zero, brought to unit length.
    """
    rows = torch.arange(1, classes, dtype=torch.float64)[:, None]
    columns = torch.arange(classes)
    steps = (columns < rows).double() - rows * (columns == rows)
    return (steps / (rows * (rows + 1)).sqrt() * (classes / (classes - 1)) ** 0.5).T.float().contiguous()


class Directions(Part):
    """Logits `W f` without bias: a trained direction for each of `classes`, of which the first `used` are answered.

    Args:
        dim: width of the features.
        classes: directions.
        used: classes that there are so far.
    """

    directions: Tensor

    def __init__(self, dim: int, classes: int, used: int) -> None:
        super().__init__()
        at_least_one(type(self).__name__, dim=dim, classes=classes, used=used)
        if used > classes:
            raise UserError(f"{used} classes, and directions for {classes}; set classes={used} or more")
        self.dim, self.classes, self.used = dim, classes, used
        self.place()

    def place(self) -> None:
        """Makes the directions."""
        self.directions = nn.Parameter(torch.empty(self.classes, self.dim))
        normal(self.directions, self.dim**-0.5)

    def every(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch every"]:
        """Logits of all directions, those of no class yet included."""
        return features @ self.directions.T

    def forward(self, features: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch used"]:
        return features @ self.directions[: self.used].T


class SimplexClassifier(Directions):
    """Directions that are the vertices of a regular simplex, and are never trained.

    Pernici et al. 2021, https://arxiv.org/abs/2103.15632; Biondi et al. 2024, https://arxiv.org/abs/2405.02581

    Raises:
        UserError: features that are not one number fewer than the classes.
    """

    def place(self) -> None:
        if self.dim != self.classes - 1:
            raise UserError(
                f"a simplex of {self.classes} classes has {self.classes - 1} dimensions, and the features {self.dim}; "
                f"use dim={self.classes - 1} or classes={self.dim + 1}"
            )
        self.register_buffer("directions", simplex(self.classes))
