"""Starting values."""

from __future__ import annotations

from torch import Tensor, nn


def normal(tensor: Tensor, std: float) -> None:
    """Normal values of mean zero; on the meta device nothing (torch would load a compiler, 1.5 s, to do nothing)."""
    if not tensor.is_meta:
        nn.init.normal_(tensor, std=std)
