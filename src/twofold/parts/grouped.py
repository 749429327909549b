"""Products of rows with the matrix of their group, without a loop over groups."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_FUSED = hasattr(F, "grouped_mm")


def grouped(
    rows: Float[Tensor, "rows inputs"], weight: Float[Tensor, "groups outputs inputs"], sizes: Int[Tensor, "groups"]
) -> Float[Tensor, "rows outputs"]:
    """Each row times the matrix of its group; the first `sizes[0]` rows are of the first group, and so on.

    PyTorch's own kernel where it takes these numbers (float32 on a processor, widths that are multiples of four), else
    one batched product of groups filled up to the largest.

    Args:
        rows: sorted by group.
        weight: as linear layers have it.
        sizes: how many rows each group has; their sum is the number of rows.
    """
    if not len(rows):
        return rows @ weight[0].T
    whole = rows.shape[1] % 4 == 0 and weight.shape[1] % 4 == 0
    if _FUSED and whole and rows.dtype == weight.dtype == torch.float32 and rows.device.type == "cpu":
        out = F.grouped_mm(rows.contiguous(), weight.transpose(1, 2), offs=sizes.cumsum(0).to(torch.int32))
        if out.requires_grad:
            out.register_hook(torch.Tensor.contiguous)  # the kernel refuses expanded gradients
        return out
    return _filled(rows, weight, sizes)


def _filled(rows: Tensor, weight: Tensor, sizes: Tensor) -> Tensor:
    groups, most = len(weight), int(sizes.max())
    group = torch.arange(groups, device=rows.device).repeat_interleave(sizes)
    slot = group * most + torch.arange(len(rows), device=rows.device) - (sizes.cumsum(0) - sizes)[group]
    full = rows.new_zeros(groups * most, rows.shape[1]).index_copy(0, slot, rows).unflatten(0, (groups, most))
    return torch.bmm(full, weight.transpose(1, 2)).flatten(0, 1)[slot]
