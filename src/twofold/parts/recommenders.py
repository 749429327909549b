"""Networks that read what somebody took, item after item, and score every item as the next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts.masks import Mask
from twofold.parts.model import SequenceModel
from twofold.parts.part import Part

Histories = Int[Tensor, "users time"]
Real = Bool[Tensor, "users time"]
PAD = 0
"""Item `i` is token `i + 1`; 0 stands where there is none."""


class Recommender(Part, abstract=True):
    """`recommender(ids [B, T], real [B, T])` -> `[B, items]`: how likely each item comes next.

    Attributes:
        items: how many there are.
        longest: how many of the last items are read; None: all.
    """

    items: int
    longest: int | None = None

    def forward(self, ids: Histories, real: Real) -> Float[Tensor, "users items"]:
        raise NotImplementedError

    @property
    def vectors(self) -> Float[Tensor, "items dim"]:
        """A vector for each item.

        Raises:
            UserError: there are none.
        """
        raise UserError(f"{type(self).__name__} has no vectors of items; use a network such as bert4rec")


class Popular(Recommender):
    """The same for everybody: how often each item was taken."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self.items = items
        self.counts: Tensor
        self.register_buffer("counts", torch.zeros(items))

    def forward(self, ids: Histories, real: Real) -> Float[Tensor, "users items"]:
        return self.counts.expand(len(ids), -1)


class ItemNeighbours(Recommender):
    """Sums of likenesses to the items that were taken: each item's nearest `count`, others are 0.

    Args:
        last: read only so many of the last items; None: all.
    """

    def __init__(self, items: int, count: int, last: int | None = None) -> None:
        super().__init__()
        self.items, self.count, self.longest = items, count, last
        self.nearest: Tensor
        self.likeness: Tensor
        self.register_buffer("nearest", torch.zeros(items, count, dtype=torch.long))
        self.register_buffer("likeness", torch.zeros(items, count))

    @classmethod
    def of(
        cls, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, items: int, count: int, last: int | None
    ) -> ItemNeighbours:
        """The `count` largest likenesses of each item; of equal ones those to the items with the lower numbers.

        Args:
            rows, columns, values: likeness of item `rows[i]` to item `columns[i]`; rows ascending, each pair once.
        """
        net = cls(items, max(1, min(count, items)), last)
        order = np.lexsort((columns, -values, rows))
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept, places = order[rank < net.count], rank[rank < net.count]
        net.nearest[rows[kept], places] = torch.from_numpy(columns[kept].astype(np.int64))
        net.likeness[rows[kept], places] = torch.from_numpy(values[kept].astype(np.float32))
        return net

    def forward(self, ids: Histories, real: Real) -> Float[Tensor, "users items"]:
        taken = (ids - 1).clamp_min(0)
        values = self.likeness[taken] * real[..., None]
        scores = torch.zeros(len(ids), self.items, device=ids.device)
        return scores.scatter_add(1, self.nearest[taken].flatten(1), values.flatten(1))


class Sequential(Recommender, abstract=True):
    """Reads the last items with a `SequenceModel`; positions count from the end, the last item's is `max_len - 1`."""

    def __init__(self, model: SequenceModel, items: int) -> None:
        super().__init__()
        self.model, self.items = model, items

    def states(self, ids: Histories, real: Real) -> Float[Tensor, "users time dim"]:
        """States of items `[B, T, D]`, padded on the right."""
        room = self.model.max_len
        assert room is not None
        backwards = real.sum(1, keepdim=True) - torch.arange(ids.shape[1], device=ids.device)
        places = (room - backwards).clamp(0, room - 1)
        return self.model.states(ids, Mask.of(real).at(places))

    @property
    def vectors(self) -> Float[Tensor, "items dim"]:
        table = self.model.embedding.table
        assert table is not None
        return table[1 : self.items + 1]


class NextItem(Sequential):
    """Scores by the state of the last item: its dot product with every item's vector (SASRec's).

    Args:
        model: causal, without a head, at least `items + 1` tokens.
        items: how many there are.
    """

    def __init__(self, model: SequenceModel, items: int) -> None:
        super().__init__(model, items)
        self.longest = model.max_len

    def forward(self, ids: Histories, real: Real) -> Float[Tensor, "users items"]:
        return self.last(self.states(ids, real), real) @ self.vectors.T

    def last(self, states: Tensor, real: Real) -> Float[Tensor, "users dim"]:
        """The state of each row's last item."""
        return states[torch.arange(len(states), device=states.device), real.sum(1).clamp_min(1) - 1]


class ClozeItem(Sequential):
    """Appends a mask token and reads what stands there (BERT4Rec's).

    Args:
        model: two-way, with a head over `items + 2` tokens: nothing, the items, the mask.
        items: how many there are.
    """

    def __init__(self, model: SequenceModel, items: int) -> None:
        super().__init__(model, items)
        self.longest = None if model.max_len is None else model.max_len - 1  # one place is the mask's

    @property
    def mask(self) -> int:
        """The token that stands for an item to be told."""
        return self.items + 1

    def logits(self, ids: Histories, real: Real, at: Bool[Tensor, "users time"]) -> Float[Tensor, "asked items"]:
        """Scores of the items at the places that are asked for, row by row."""
        return self.model.apply_head(self.states(ids, real)[at])[:, 1 : self.items + 1]

    def forward(self, ids: Histories, real: Real) -> Float[Tensor, "users items"]:
        lengths = real.sum(1, keepdim=True)
        places = torch.arange(ids.shape[1] + 1, device=ids.device)
        at = places == lengths
        more = F.pad(ids, (0, 1)).masked_fill(at, self.mask)
        return self.logits(more, places <= lengths, at)


def sequences(histories: Sequence[Sequence[int]], longest: int | None) -> list[list[int]]:
    """Tokens of the last `longest` items of each history."""
    return [[item + 1 for item in (h if longest is None else h[-longest:])] for h in histories]
