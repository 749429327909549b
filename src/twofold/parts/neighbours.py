"""Answers from the nearest known examples: k nearest neighbours as a head. Cover & Hart 1967, https://doi.org/10.1109/TIT.1967.1053964"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.parts.arguments import above_zero, at_least_one
from twofold.parts.part import Part

_LEAST = 1e-4


class LogLink(Part):
    """Shares of classes as logits whose softmax they are; a share of 0 counts as a ten-thousandth."""

    def forward(self, shares: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        return shares.clamp_min(_LEAST).log()


class LogitLink(Part):
    """Shares of single labels as logits whose logistic function they are, at most a ten-thousandth from 0 and 1."""

    def forward(self, shares: Float[Tensor, "batch outputs"]) -> Float[Tensor, "batch outputs"]:
        return shares.clamp(_LEAST, 1 - _LEAST).logit()


class Neighbours(Part):
    """The mean value of the `k` known vectors with the highest cosine, each weighted by `exp(cosine / temperature)`.

    Args:
        known: how many vectors are known.
        dim: their width.
        outputs: numbers a value has.
        k: neighbours that count.
        temperature: how fast farther neighbours count less, above 0.
        link: from mean values to what is given; None: as they are.
    """

    vectors: Tensor
    values: Tensor

    def __init__(
        self, known: int, dim: int, outputs: int, k: int = 5, temperature: float = 0.1, link: Part | None = None
    ) -> None:
        super().__init__()
        at_least_one("Neighbours", known=known, dim=dim, outputs=outputs, k=k)
        above_zero("Neighbours", temperature=temperature)
        self.k, self.temperature, self.link = min(k, known), temperature, link
        self.register_buffer("vectors", torch.zeros(known, dim))
        self.register_buffer("values", torch.zeros(known, outputs))

    def know(self, vectors: Float[Tensor, "known dim"], values: Float[Tensor, "known outputs"]) -> Neighbours:
        """Takes what is known; vectors are brought to unit length."""
        self.vectors.copy_(self.placed(vectors))
        self.values.copy_(values)
        return self

    def placed(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Vectors as they are compared."""
        return F.normalize(states.float(), dim=-1)

    def likeness(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch known"]:
        """How near each known vector is: here the cosine."""
        return self.placed(states) @ self.vectors.T

    def forward(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch outputs"]:
        return self.answer(self.likeness(states))

    def answer(self, likeness: Float[Tensor, "batch known"]) -> Float[Tensor, "batch outputs"]:
        """What is given, from how near each known vector is."""
        best, place = likeness.topk(self.k, dim=-1)
        weights = (best / self.temperature).softmax(-1)
        mean = torch.einsum("bk,bko->bo", weights, self.values[place])
        return mean if self.link is None else self.link(mean)


class EuclideanNeighbours(Neighbours):
    """As `Neighbours`, by Euclidean distance: the likeness is minus half its square, so that at unit length it is
    the cosine, less 1."""

    def placed(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return states.float()

    def likeness(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch known"]:
        """How near each known vector is."""
        return -torch.cdist(self.placed(states), self.vectors).square() / 2


class SignNeighbours(Neighbours):
    """As `Neighbours`, with known vectors kept as their signs, a bit a number: the likeness is `x · sign(known)`.

    Signs are taken around the mean of what is known, so that bits come out even.
    """

    centre: Tensor

    def __init__(
        self, known: int, dim: int, outputs: int, k: int = 5, temperature: float = 0.1, link: Part | None = None
    ) -> None:
        super().__init__(known, dim, outputs, k, temperature, link)
        self.register_buffer("centre", torch.zeros(dim))

    def know(self, vectors: Float[Tensor, "known dim"], values: Float[Tensor, "known outputs"]) -> SignNeighbours:
        """Takes the signs of what is known."""
        self.centre.copy_(vectors.float().mean(0))
        self.vectors.copy_(torch.where(vectors.float() >= self.centre, 1.0, -1.0))
        self.values.copy_(values)
        return self

    def placed(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return states.float() - self.centre


class HammingNeighbours(SignNeighbours):
    """As `SignNeighbours`, with the asked vector as its signs too: the likeness is the width less twice the bits that
    differ."""

    def placed(self, states: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return torch.where(states.float() >= self.centre, 1.0, -1.0)


class Likeness(Part):
    """How near each known item is, in place of what is answered from it: `[B, ...] -> [B, known]`."""

    def __init__(self, head: Neighbours) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch known"]:
        return self.head.likeness(states)
