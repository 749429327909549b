"""How much of an input its hidden states keep: can the input be found again from them?

Badger 2024, section 3, https://arxiv.org/abs/2409.01482
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import Mask, SequenceModel


def invert_input(
    net: SequenceModel, ids: Int[Tensor, "batch time"], steps: int = 300, lr: float = 0.05, seed: int = 0
) -> Int[Tensor, "batch time"]:
    """The tokens nearest to vectors whose hidden states come closest (in L1) to those of the input.

    Vectors start at random, as large as the token vectors, and are moved by Adam; weights stay as they are.

    Args:
        net: any network with token vectors; its head plays no part.
        ids: the input whose states are to be met.
        steps: of the search.
        lr: of the search, in units of the token vectors' spread.
        seed: of the start.

    Raises:
        UserError: a network without token vectors, or no steps.
    """
    table = net.embedding.table
    if table is None:
        raise UserError(f"{type(net.embedding).__name__} has no token vectors, so inputs cannot be found again")
    if steps < 1:
        raise UserError(f"an inversion of {steps} steps finds nothing; use at least 1")
    table = table.detach()
    scale = getattr(net.embedding, "scale", 1.0)
    spread = float(table.std()) * scale
    places = torch.arange(ids.shape[1], device=ids.device)[None]
    with torch.no_grad():
        given = net.embedding(ids, places)
        added = given - table[ids] * scale  # positions, known to whoever knows the network
        wanted = net.stack(given, Mask.causal())
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(given.shape, generator=generator).to(given) * spread
    found = start.requires_grad_()
    optimizer = torch.optim.Adam([found], lr * spread)
    for _ in range(steps):
        loss = F.l1_loss(net.stack(found + added, Mask.causal()), wanted)
        (found.grad,) = torch.autograd.grad(loss, (found,))
        optimizer.step()
    with torch.no_grad():
        return torch.cdist(found.flatten(0, 1), table * scale).argmin(-1).view_as(ids)


def inversion_error(
    net: SequenceModel, ids: Int[Tensor, "batch time"], steps: int = 300, lr: float = 0.05, seed: int = 0
) -> float:
    """Share of tokens that `invert_input` does not find again (the normalised Hamming distance), in [0, 1]."""
    return float((invert_input(net, ids, steps, lr, seed) != ids).float().mean())
