"""Heads that know the training part: nearest neighbours among its vectors."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from twofold.parts import EuclideanNeighbours, LogitLink, LogLink, Neighbours
from twofold.tasks.classify.targets import ManyLabels, Number, OneLabel, Target

Distance = Literal["cosine", "euclidean"]
_KINDS: dict[Distance, type[Neighbours]] = {"cosine": Neighbours, "euclidean": EuclideanNeighbours}


def neighbours(
    vectors: Float[Tensor, "known dim"], values: np.ndarray, target: Target, k: int, distance: Distance = "cosine"
) -> Neighbours:
    """A head that answers from the `k` nearest of `vectors`; `values` are what is true of them, as `target` has it."""
    link = LogLink() if isinstance(target, OneLabel) else LogitLink() if isinstance(target, ManyLabels) else None
    head = _KINDS[distance](len(vectors), vectors.shape[1], target.outputs, k, link=link)
    if isinstance(target, OneLabel):
        told = F.one_hot(torch.from_numpy(values), target.outputs).float()
    elif isinstance(target, Number):
        told = torch.from_numpy((values - target.center) / target.spread)[:, None].float()
    else:
        told = torch.from_numpy(values).float()
    return head.know(vectors.float(), told)
