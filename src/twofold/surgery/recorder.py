"""Activations of a frozen network over a corpus, at random positions, as one array.

Taps of `twofold.parts.trace` streamed over batches: each pass ends as soon as the last tap was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from twofold import progress
from twofold.errors import UserError
from twofold.parts.trace import Tap, trace
from twofold.surgery.calibrate import Batch

Run = Callable[[Tensor, Tensor], Any]
"""Runs a network on ids `[B, T]` and which of them are real, bool `[B, T]`."""

LARGE = 2 << 30
"""Bytes above which a recording needs a file."""


@dataclass(frozen=True)
class Recording:
    """What the taps saw at N positions, in the order of the corpus.

    Attributes:
        values: `[N, taps, D]` float32; memory-mapped where a file was given.
        taps: the place of each entry of the second axis.
        rows: which sequence of the corpus each position is in, `[N]`.
        places: where in its sequence, from 0, padding not counted, `[N]`.
        lengths: real tokens of that sequence, `[N]`.
    """

    values: np.ndarray
    taps: tuple[Tap, ...]
    rows: np.ndarray
    places: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: np.ndarray) -> Recording:
        """Those positions alone, in memory."""
        parts = (self.values[chosen], self.taps, self.rows[chosen], self.places[chosen], self.lengths[chosen])
        return Recording(*parts)


def record(
    net: nn.Module,
    run: Run,
    batches: Sequence[Batch],
    taps: Sequence[Tap],
    positions: int | None = None,
    *,
    skip: int = 1,
    seed: int = 0,
    file: Path | None = None,
) -> Recording:
    """What the taps see, at random real positions of every sequence.

    Args:
        net: its blocks are tapped; it runs in evaluation mode, without gradients.
        run: how it is called.
        batches: ids and which are real. Sequences are numbered in this order; which positions are drawn from one
            depends on the seed, its number and its length, not on what is batched with it.
        taps: where to look; all of one width.
        positions: from each sequence at most so many, without repetition; None: all.
        skip: leave out so many at the beginning. The first token draws attention that has nowhere else to go, and
            its states are many times as long as others (Xiao et al. 2023, https://arxiv.org/abs/2309.17453).
        seed: of the positions.
        file: a `.npy` file to write the values to, memory-mapped; needed above `LARGE` bytes.

    Raises:
        UserError: no real position is left, a tap that is not there, or too large for memory.
    """
    chosen = _choose(batches, positions, skip, seed)
    rows, places, lengths = (np.concatenate([c[i] for c in chosen] or [np.empty(0, np.int64)]) for i in range(3))
    if not len(rows):
        raise UserError(f"no tokens to record behind the first {skip} of each text; give longer texts")
    values: np.ndarray | None = None
    training, done, first = net.training, 0, 0
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    net.eval()
    try:
        with torch.no_grad(), progress.stage("record states", total=sum(len(ids) for ids, _ in batches)) as stage:
            for (ids, real), (numbers, at, _) in zip(batches, chosen, strict=True):
                with trace(net, taps, stop=True) as seen:
                    run(ids.to(device), real.to(device))
                slots = _slots(real, numbers - first, at)
                found = torch.stack([seen[tap][slots].float() for tap in taps], dim=1).cpu().numpy()
                if values is None:
                    values = _array((len(rows), *found.shape[1:]), file)
                values[done : done + len(at)] = found
                done, first = done + len(at), first + len(ids)
                stage.advance(len(ids))
    finally:
        net.train(training)
    assert values is not None
    return Recording(values, tuple(taps), rows, places, lengths)


def _choose(
    batches: Sequence[Batch], positions: int | None, skip: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Row numbers, places and lengths of the positions of each batch."""
    out, first = [], 0
    for _, real in batches:
        counts = real.sum(1).cpu().numpy()
        drawn = []
        for number, count in enumerate(counts, first):
            order = np.random.default_rng((seed, number)).permutation(max(0, int(count) - skip)) + skip
            drawn.append(np.sort(order[:positions]))
        sizes = np.array([len(d) for d in drawn], dtype=np.int64)
        numbers = np.repeat(np.arange(first, first + len(counts)), sizes)
        places = np.concatenate(drawn) if drawn else np.empty(0, np.int64)
        out.append((numbers, places.astype(np.int64), np.repeat(counts, sizes)))
        first += len(counts)
    return out


def _slots(real: Tensor, rows: np.ndarray, places: np.ndarray) -> tuple[Tensor, Tensor]:
    """Row and column in the batch of the n-th real tokens."""
    order = torch.argsort(~real.cpu(), dim=1, stable=True)  # real slots first, in order
    row = torch.from_numpy(rows)
    return row, order[row, torch.from_numpy(places)]


def _array(shape: tuple[int, ...], file: Path | None) -> np.ndarray:
    size = 4 * int(np.prod(shape))
    if file is not None:
        return np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    if size > LARGE:
        raise UserError(
            f"{shape[0]:,} positions of {shape[1]} layers take {size / 1e9:.1f} GB; record fewer, or every few layers"
        )
    return np.empty(shape, np.float32)
