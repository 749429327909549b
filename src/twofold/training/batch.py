"""What the loop does with a batch, whatever the batch is: tensors in mappings, sequences, or an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from twofold.errors import UserError


def tokens_in(batch: Any) -> int:
    """`batch.tokens` where there is such a number; else the elements of the first tensor of integers, or 0."""
    declared = getattr(batch, "tokens", None)
    if isinstance(declared, int):
        return declared
    for tensor in _tensors(batch):
        if not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
            return tensor.numel()
    return 0


def move(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on `device`. An object moves itself if it has `.to(device)`."""
    if isinstance(batch, Mapping):
        return {name: move(item, device) for name, item in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(item, device) for item in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move(item, device) for item in batch)
    return batch.to(device) if hasattr(batch, "to") else batch


def shard(batch: Any, rank: int, world: int) -> Any:
    """The part of a batch that one of `world` processes works on.

    An object splits itself with `.shard(rank, world)`; of a tensor, or tensors in mappings and sequences, each
    process takes consecutive rows. All tensors must have the same number of rows.
    """
    if world == 1:
        return batch
    if hasattr(batch, "shard"):
        return batch.shard(rank, world)
    if not isinstance(batch, Tensor | Mapping | list | tuple):
        raise UserError(
            f"a batch of type {type(batch).__name__} cannot be split over {world} processes; "
            "give it a method shard(rank, world)"
        )
    rows = {tensor.shape[:1] for tensor in _tensors(batch)}
    if len(rows) != 1 or min(rows, default=()) < (world,):
        raise UserError(
            f"the batch cannot be split over {world} processes: its tensors need the same number of rows, at least "
            "one a process; give the batch a method shard(rank, world), or larger batches"
        )
    return _rows(batch, rank, world)


def _rows(batch: Any, rank: int, world: int) -> Any:
    if isinstance(batch, Tensor):
        return batch.tensor_split(world)[rank]
    if isinstance(batch, Mapping):
        return {name: _rows(item, rank, world) for name, item in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_rows(item, rank, world) for item in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(_rows(item, rank, world) for item in batch)
    return batch


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from _tensors(item)
    elif isinstance(batch, list | tuple):
        for item in batch:
            yield from _tensors(item)
    elif hasattr(batch, "__dict__"):
        for item in vars(batch).values():
            yield from _tensors(item)
