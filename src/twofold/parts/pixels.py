"""Networks of pixels alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import nonlinearity
from twofold.parts.linear import Dense
from twofold.parts.part import Part
from twofold.parts.positions import Learned
from twofold.parts.stack import Stack


class PixelPerceptron(Part):
    """One hidden layer on all pixels of an image: `[B, height, width, channels] -> [B, dim]`.

    Args:
        pixels: numbers in an image, height × width × channels.
        hidden: width of the hidden layer.
        dim: width that comes out.
        activation: of the hidden layer.
    """

    def __init__(self, pixels: int, hidden: int, dim: int, activation: str = "relu") -> None:
        super().__init__()
        at_least_one("PixelPerceptron", pixels=pixels, hidden=hidden, dim=dim)
        self.act = nonlinearity(activation)
        self.up, self.down = Dense(pixels, hidden), Dense(hidden, dim)

    def forward(self, images: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch dim"]:
        out: Tensor = self.down(self.act(self.up(images.flatten(1))))
        return out


def patches(shape: Sequence[int], patch: int) -> tuple[int, int]:
    """How many square patches with sides of `patch` pixels fill an image, down and across.

    Raises:
        UserError: they do not; names a side that does.
    """
    at_least_one("patches", patch=patch)
    height, width = shape[:2]
    if height % patch or width % patch:
        fits = next(side for side in range(min(patch, height, width), 0, -1) if height % side == width % side == 0)
        raise UserError(
            f"patches of {patch} pixels do not fill images of {height} x {width}; use patch={fits}, or another divisor "
            "of both"
        )
    return height // patch, width // patch


class PatchEncoder(Part):
    """A vision transformer without its head: square patches as tokens, in rows, and the mean of their last states.

    `[B, height, width, channels] -> [B, dim]`. Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929, with the mean
    in place of a class token.

    Args:
        stack: of any mixers that are not causal.
        shape: height, width and channels of an image.
        patch: side of a patch; it divides height and width.
        dim: width of the states.

    Raises:
        UserError: patches that do not fill an image.
    """

    def __init__(self, stack: Stack, shape: Sequence[int], patch: int, dim: int) -> None:
        super().__init__()
        at_least_one("PatchEncoder", dim=dim)
        count = math.prod(patches(shape, patch))
        self.stack, self.patch = stack, patch
        self.embed = Dense(patch * patch * shape[2], dim)
        self.position = Learned(count, dim)

    def tokens(self, images: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch patches pixels"]:
        """The patches, row by row, each flattened."""
        rows = images.unflatten(2, (-1, self.patch)).unflatten(1, (-1, self.patch))
        return rows.transpose(2, 3).flatten(3).flatten(1, 2)

    def forward(self, images: Float[Tensor, "batch height width channels"]) -> Float[Tensor, "batch dim"]:
        states = self.embed(self.tokens(images)) + self.position.weight
        return self.stack(states).mean(1)
