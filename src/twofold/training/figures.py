"""The figures of recent steps, read from the device together: reading one by one would make it wait each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from twofold.training.distributed import size

_TOGETHER = 10


class Figures:
    """Steps whose figures are not read yet."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps: list[tuple[dict[str, float], dict[str, list[Tensor | float]]]] = []
        # On the CPU of one process a read costs nothing, and a loss that is not finite is seen before it does harm.
        self._together = 1 if device.type == "cpu" and size() == 1 else _TOGETHER

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def due(self) -> bool:
        """Whether it is time to read."""
        return len(self._steps) >= self._together

    def add(self, position: dict[str, float], batches: Sequence[Mapping[str, Tensor | float]]) -> None:
        """A step: where it is, and the figures of each of its batches."""
        named: dict[str, list[Tensor | float]] = {}
        for figures in batches:
            for name, value in figures.items():
                named.setdefault(name, []).append(value)
        self._steps.append((position, named))

    def read(self, alone: bool = False) -> list[dict[str, float]]:
        """One row a step: its position, and its figures averaged over batches and, unless `alone`, over processes."""
        values = [value for _, named in self._steps for several in named.values() for value in several]
        if not values:
            return []
        flat = torch.stack(
            [torch.as_tensor(v, dtype=torch.float32, device=self._device).detach().reshape(()) for v in values]
        )
        if size() > 1 and not alone:
            dist.all_reduce(flat)
            flat /= size()
        numbers = iter(flat.tolist())
        rows = []
        for position, named in self._steps:
            means = {name: sum(next(numbers) for _ in several) / len(several) for name, several in named.items()}
            rows.append(position | means)
        self._steps = []
        return rows
