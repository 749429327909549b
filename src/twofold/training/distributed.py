"""Training in several processes, as `torchrun` starts them: data-parallel, gradients averaged.

Every process holds the whole network, built in the same way, and asks for the same batches; each works on its
share of a batch. The first one writes checkpoints and logs, in a folder that all can read.
"""

from __future__ import annotations

import atexit
import contextlib
import os

import torch
import torch.distributed as dist
from torch import nn

from twofold.objectives.ranks import gather, rank, size

__all__ = ["agreed", "gather", "join", "leave", "rank", "replicated", "size", "unsynchronised", "world"]


def world() -> tuple[int, int]:
    """This process' rank and the number of processes; `(0, 1)` outside distributed training."""
    return rank(), size()


def join() -> tuple[int, int]:
    """Meet the other processes that `torchrun` has started, once; gives `world()`. Alone: `(0, 1)`."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(leave)
    return world()


def leave() -> None:
    """Part from the other processes; it is called by itself when the program ends."""
    if dist.is_initialized():
        dist.destroy_process_group()


def replicated(module: nn.Module) -> nn.Module:
    """The module with gradients averaged over all processes; itself where there is one process.

    Parameters and buffers start as the first process has them.
    """
    if size() == 1 or not any(p.requires_grad for p in module.parameters()):
        return module
    # A batch need not touch every parameter: objectives and experts may take turns.
    return nn.parallel.DistributedDataParallel(module, find_unused_parameters=True)


def unsynchronised(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A context in which backward leaves gradients unaveraged, for all but the last batch of a step."""
    if isinstance(module, nn.parallel.DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def agreed(number: float, device: torch.device) -> float:
    """The first process' number, so that all decide alike."""
    if size() == 1:
        return number
    told = torch.tensor([number], dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    dist.broadcast(told, src=0)
    return float(told)
