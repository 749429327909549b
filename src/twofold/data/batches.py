"""From sequences of many lengths to rectangular batches, and in which order: functions of the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from twofold.errors import UserError

Indices = NDArray[np.int64]


def pad(
    sequences: Sequence[Sequence[int]], pad_id: int | None = 0
) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
    """Sequences of ids side by side, padded on the right to the longest, and which of the places are real.

    `pad_id` None (a tokenizer without a padding token) fills with 0; what stands there never counts.
    """
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    real = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.full(real.shape, pad_id or 0, dtype=np.int64)
    ids[real] = np.fromiter(chain.from_iterable(sequences), dtype=np.int64, count=int(lengths.sum()))
    return torch.from_numpy(ids), torch.from_numpy(real)


def buckets(
    lengths: ArrayLike, tokens: int = 8192, *, longest_first: bool = True, most: int | None = None
) -> list[list[int]]:
    """Batches of items of like lengths: every index of `lengths` once, at most `tokens` places each, padding counted.

    An item that is longer than `tokens` is a batch by itself. `most`: items in a batch at most. Longest first, so
    that a batch that does not fit in memory says so at once. Items of equal length keep their order.
    """
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(-sizes, kind="stable")
    batches = [order[begin:end].tolist() for begin, end in _cuts(sizes[order], tokens, most)]
    return batches if longest_first else batches[::-1]


def _cuts(descending: Indices, tokens: int, most: int | None = None) -> list[tuple[int, int]]:
    """Where to cut sizes, longest first: a batch is as wide as its first item."""
    if tokens < 1 or (most is not None and most < 1):
        raise UserError(f"a batch of {tokens} tokens and {most} items holds nothing; use at least 1 of each")
    cuts = []
    begin = 0
    while begin < len(descending):
        count = max(1, tokens // int(descending[begin]))
        end = min(begin + (count if most is None else min(count, most)), len(descending))
        cuts.append((begin, end))
        begin = end
    return cuts


class Order:
    """Which of `n` items make up the batch of each step: epoch after epoch, each in an order of its own.

    `order(step)` gives `batch` indices and depends on (n, batch, seed, step) alone, so going on needs only the
    step. Every item comes once in an epoch of `n` items; a batch that reaches past the end of one goes on in the
    next. Raises UserError where there are no items.
    """

    def __init__(self, n: int, batch: int, seed: int = 0) -> None:
        if n < 1 or batch < 1:
            raise UserError(f"no batches of {batch} from {n} items; both must be at least 1")
        self.n, self.batch, self.seed = n, batch, seed
        self._epochs = _Permutations(n, seed)

    def __call__(self, step: int) -> Indices:
        begin, end = step * self.batch, (step + 1) * self.batch
        pieces = []
        while begin < end:
            epoch, offset = divmod(begin, self.n)
            piece = self._epochs(epoch)[offset : offset + end - begin]
            pieces.append(piece)
            begin += len(piece)
        return np.concatenate(pieces)


class ClassOrder:
    """Like `Order`, with `each` items of every class that takes part in a batch.

    A batch holds as many classes as fit, chosen anew at every step where not all do; classes of fewer items give the
    same ones again. Depends on the arguments and the step alone.

    Raises:
        UserError: one class only, or a batch that does not hold two classes.
    """

    def __init__(self, labels: ArrayLike, batch: int, each: int, seed: int = 0) -> None:
        values = np.asarray(labels)
        self._members = [np.flatnonzero(values == c) for c in np.unique(values)]
        count = batch // max(1, each)
        if len(self._members) < 2 or each < 1 or count < 2:
            raise UserError(
                f"batches of {batch} with {each} items of a class, from {len(self._members)} classes; there must be at "
                f"least two classes, and a batch must hold two of them: use batch={2 * max(1, each)} or more"
            )
        self._classes = Order(len(self._members), min(count, len(self._members)), seed)
        self._each, self._seed = batch // self._classes.batch, seed

    def __call__(self, step: int) -> Indices:
        random = np.random.default_rng((self._seed, step))
        chosen = [random.permutation(self._members[c]) for c in self._classes(step)]
        return np.concatenate([np.resize(items, self._each) for items in chosen])


class TokenOrder:
    """Like `Order`, for items of mixed lengths: batches of like lengths with at most `tokens` places each.

    Lengths are rounded up to a multiple of `rounding`; among items of one rounded length chance decides, anew in
    every epoch, which go together; so does the order of the batches. `order(step)` depends on the arguments and the
    step alone; every item comes once in `len(order)` steps.
    """

    def __init__(
        self, lengths: ArrayLike, tokens: int = 8192, seed: int = 0, *, most: int | None = None, rounding: int = 8
    ) -> None:
        sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
        if not len(sizes):
            raise UserError("no batches from 0 items; give at least 1")
        self._sizes = -(-sizes // rounding) * rounding
        self._cuts = _cuts(-np.sort(-self._sizes), tokens, most)
        self._items = _Permutations(len(sizes), seed)
        self._batches = _Permutations(len(self._cuts), seed + 1)
        self._arranged: tuple[int, Indices] | None = None  # the last epoch's items, longest first

    def __len__(self) -> int:
        """Steps in an epoch."""
        return len(self._cuts)

    def __call__(self, step: int) -> Indices:
        epoch, place = divmod(step, len(self._cuts))
        if self._arranged is None or self._arranged[0] != epoch:
            shuffled = self._items(epoch)
            self._arranged = epoch, shuffled[np.argsort(-self._sizes[shuffled], kind="stable")]
        begin, end = self._cuts[self._batches(epoch)[place]]
        return self._arranged[1][begin:end]


class _Permutations:
    """The permutation of `n` items for each epoch, from (seed, epoch); the last two are kept at hand."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self._kept: dict[int, Indices] = {}

    def __call__(self, epoch: int) -> Indices:
        if epoch not in self._kept:
            if len(self._kept) > 1:
                del self._kept[min(self._kept)]
            self._kept[epoch] = np.random.default_rng((self.seed, epoch)).permutation(self.n)
        return self._kept[epoch]
