"""Weights of one network as the start of another of a different shape."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from twofold.parts import Block, Part, Resize


@torch.no_grad()
def transfer_weights(source: Part, target: Part) -> float:
    """Copies weights where names and shapes overlap, in place, and gives the share of the target's that came so.

    Layers are matched by their number, and within a layer its feed-forward parts by theirs; where sizes differ, the
    first rows and columns are taken. Tuli et al. 2022 (FlexiBERT), section 3.4, https://arxiv.org/abs/2205.11656

    Args:
        source: a network of blocks.
        target: another one.
    """
    known = dict(_places(source))
    copied = total = 0
    for name, own in _places(target):
        total += own.numel()
        given = known.get(name)
        if given is None or given.ndim != own.ndim:
            continue
        shared = tuple(slice(min(a, b)) for a, b in zip(own.shape, given.shape, strict=True))
        own[shared] = given[shared]
        copied += own[shared].numel()
    return copied / max(1, total)


def _places(net: Part) -> Iterator[tuple[str, Tensor]]:
    """Parameters by where they stand: layer, number within the layer, name; those outside of blocks by name."""
    prefixes: dict[str, str] = {}
    layer = inner = -1
    for name, part in net.named_modules():
        if isinstance(part, Resize):
            prefixes[f"{name}."] = f"before {layer + 1}."
        elif isinstance(part, Block):
            starts = part.mixer is not None
            layer, inner = (layer + 1, 0) if starts else (max(layer, 0), inner + 1)
            prefixes[f"{name}."] = f"{layer}/{inner}."
    for name, tensor in _parameters(net):
        outer = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        yield (name if outer is None else prefixes[outer] + name[len(outer) :]), tensor


def _parameters(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, parameter.data) for name, parameter in net.named_parameters())
