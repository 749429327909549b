"""Starting values of residual branches."""

from __future__ import annotations

from typing import Any

import torch

from twofold.errors import UserError
from twofold.parts.model import SequenceModel
from twofold.parts.trace import blocks


def scale_branches(net: SequenceModel) -> SequenceModel:
    """Divides what every residual branch ends in by the root of the number of branches, so that the sum of all starts
    at one size however many there are. Radford et al. 2019 (GPT-2), section 2.3; in place.

    Args:
        net: of attention, whose branches end in `out`, and feed-forward parts or none, whose branches end in `down`.

    Raises:
        UserError: a branch that ends in something else.
    """
    last: list[Any] = []
    for name, block in blocks(net):
        for part, end in ((block.mixer, "out"), (block.channel, "down")):
            if part is None:
                continue
            if not hasattr(part, end):
                raise UserError(
                    f"{name}: the branch of a {type(part).__name__} has no last map to scale; give a network of "
                    "attention and feed-forward parts"
                )
            last.append(getattr(part, end))
    for part in last:
        if not part.weight.is_meta:
            with torch.no_grad():
                part.weight.mul_(len(last) ** -0.5)
    return net
