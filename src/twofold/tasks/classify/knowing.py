"""Heads that know the training part: nearest neighbours among its vectors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.parts import EuclideanNeighbours, HammingNeighbours, LogitLink, LogLink, Neighbours, Part, SignNeighbours
from twofold.tasks.classify.targets import ManyLabels, Number, OneLabel, Target

Distance = Literal["cosine", "euclidean", "asymmetric", "hamming"]
"""Of whole vectors; of vectors with their signs; of signs."""
_KINDS: dict[Distance, type[Neighbours]] = {
    "cosine": Neighbours,
    "euclidean": EuclideanNeighbours,
    "asymmetric": SignNeighbours,
    "hamming": HammingNeighbours,
}


def neighbours(
    vectors: Float[Tensor, "known dim"], values: np.ndarray, target: Target, k: int, distance: Distance = "cosine"
) -> Neighbours:
    """A head that answers from the `k` nearest of `vectors`; `values` are what is true of them, as `target` has it."""
    head = _KINDS[distance](len(vectors), vectors.shape[1], target.outputs, k, link=link_of(target))
    return head.know(vectors.float(), told(values, target))


def link_of(target: Target) -> Part | None:
    """From mean values to outputs that `target` decodes."""
    return LogLink() if isinstance(target, OneLabel) else LogitLink() if isinstance(target, ManyLabels) else None


def told(values: np.ndarray, target: Target) -> Float[Tensor, "known outputs"]:
    """What is true of items, as numbers that can be averaged."""
    if isinstance(target, OneLabel):
        return F.one_hot(torch.from_numpy(values), target.outputs).float()
    if isinstance(target, Number):
        return torch.from_numpy((values - target.center) / target.spread)[:, None].float()
    return torch.from_numpy(values).float()
