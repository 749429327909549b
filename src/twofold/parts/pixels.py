"""Networks of pixels alone."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from twofold.parts.arguments import at_least_one
from twofold.parts.channels.ffn import nonlinearity
from twofold.parts.linear import Dense
from twofold.parts.part import Part


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
