"""Statistics of activations, streamed through a network block by block.

`Walk` keeps the input of the current block for all calibration batches, so a walk costs one forward pass for each
statistic that is asked for and one to move on, however many blocks there are. What is cut from a block while it is
visited is seen by the blocks behind it. Padding is never counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from scipy.linalg import blas
from torch import Tensor, nn

from twofold import progress
from twofold.errors import UserError
from twofold.parts import Block
from twofold.parts.trace import blocks, watch

Batch = tuple[Tensor, Tensor]
"""Ids `[B, T]` and which of them are real, bool `[B, T]`."""


class Statistic(Protocol):
    """Accumulates over rows of activations."""

    count: int

    def add(self, rows: Tensor) -> None:
        """Takes `[n, m]` more activations of real tokens."""


class Gram:
    """ZᵀZ `[m, m]` and the mean `[m]` in float64 of all activations `[count, m]`."""

    def __init__(self) -> None:
        self.count = 0
        self._upper: np.ndarray | None = None
        self._sum: np.ndarray | None = None

    def add(self, rows: Tensor) -> None:
        z = rows.detach().to("cpu", torch.float64).numpy()
        if self._upper is None or self._sum is None:
            m = z.shape[1]
            self._upper, self._sum = np.zeros((m, m), order="F"), np.zeros(m)
        self._upper = blas.dsyrk(1.0, z.T, beta=1.0, c=self._upper, overwrite_c=True)
        self._sum += z.sum(0)
        self.count += len(z)

    @property
    def matrix(self) -> np.ndarray:
        """ZᵀZ, `[m, m]`."""
        assert self._upper is not None
        upper = np.triu(self._upper)
        return upper + np.triu(upper, 1).T

    @property
    def mean(self) -> np.ndarray:
        """The mean activation, `[m]`."""
        assert self._sum is not None
        return self._sum / self.count


class Squares:
    """The sum of squares of each activation, `[m]`, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: np.ndarray | float = 0.0

    def add(self, rows: Tensor) -> None:
        self.total = self.total + rows.detach().double().square().sum(0).cpu().numpy()
        self.count += len(rows)

    @property
    def norms(self) -> np.ndarray:
        """The L2 norm of each activation over all tokens, `[m]`."""
        return np.sqrt(np.asarray(self.total))


class Sample:
    """A uniform sample of at most `size` rows, kept without seeing all of them at once (reservoir, Vitter 1985)."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.count, self._size = 0, size
        self._random = np.random.default_rng(seed)
        self._rows: np.ndarray | None = None

    def add(self, rows: Tensor) -> None:
        z = rows.detach().to("cpu", torch.float32).numpy()
        if self._rows is None:
            self._rows = np.empty((self._size, z.shape[1]), np.float32)
        free = min(len(z), max(0, self._size - self.count))
        self._rows[self.count : self.count + free] = z[:free]
        places = self._random.integers(0, np.arange(self.count + free, self.count + len(z)) + 1)
        for row, place in zip(z[free:], places, strict=True):
            if place < self._size:
                self._rows[place] = row
        self.count += len(z)

    @property
    def rows(self) -> np.ndarray:
        """The sample, `[min(count, size), m]`, float32."""
        assert self._rows is not None
        return self._rows[: self.count]


@dataclass
class Layer:
    """One block on a walk."""

    name: str
    block: Block
    _walk: Walk

    def observe(self, wanted: Mapping[nn.Module, Statistic]) -> None:
        """Feeds the inputs of some modules inside this block, `[n, m]` at real tokens, to their statistics.

        The block is run as it is now, on what the blocks before it give as they are now.
        """
        self._walk._observe(self.block, wanted)


class Walk:
    """A walk over the blocks of a network with calibration data: `for layer in Walk(net, batches)`.

    After the body of the loop the stored activations go through the block as it is then. The network runs in
    evaluation mode and without gradients; its parts are changed only by the body.

    Args:
        net: called as `net(ids, real)`; its blocks follow one another, each taking the output of the one before.
        batches: ids and which are real.

    Raises:
        UserError: the network has no blocks, or one block stands in several places.
    """

    def __init__(self, net: nn.Module, batches: Sequence[Batch], label: str = "calibrate") -> None:
        self._net, self._blocks, self._label = net, blocks(net), label
        self._real = [real for _, real in batches]
        self._batches = batches
        self._states: list[Tensor] = []
        self._rest: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __iter__(self) -> Iterator[Layer]:
        training = self._net.training
        self._net.eval()
        try:
            self._start()
            with progress.stage(self._label, total=len(self._blocks)) as stage:
                for name, block in self._blocks:
                    yield Layer(name, block, self)
                    if block is not self._blocks[-1][1]:
                        self._advance(block)
                    stage.advance()
        finally:
            self._states, self._rest = [], []
            self._net.train(training)

    @torch.no_grad()
    def _start(self) -> None:
        device = next(self._net.parameters()).device
        first = self._blocks[0][1]
        for ids, real in self._batches:
            with watch({"first": (first, "call")}, stop=True) as seen:
                self._net(ids.to(device), real.to(device))
            if not seen:
                raise UserError(f"{type(self._net).__name__} did not run its first block on the calibration data")
            args, kwargs = seen["first"]
            self._states.append(args[0])
            self._rest.append((args[1:], kwargs))

    @torch.no_grad()
    def _advance(self, block: Block) -> None:
        for i, (args, kwargs) in enumerate(self._rest):
            self._states[i] = block(self._states[i], *args, **kwargs)

    @torch.no_grad()
    def _observe(self, block: Block, wanted: Mapping[nn.Module, Statistic]) -> None:
        if not wanted:
            return
        places = {module: (module, "in") for module in wanted}
        for states, (args, kwargs), real in zip(self._states, self._rest, self._real, strict=True):
            with watch(places, stop=True) as seen:
                block(states, *args, **kwargs)
            for module, statistic in wanted.items():
                statistic.add(seen[module][real.to(seen[module].device)])
