"""What transforms refuse before they begin."""

from __future__ import annotations

import torch
from torch import nn

from twofold.errors import UserError
from twofold.parts import Part, packed_layers


def refuse_damaged(net: Part) -> None:
    """Refuses a network with weights that are not finite (UserError naming the tensor)."""
    for name, tensor in net.tensors().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{name} holds values that are not finite: the model is damaged; load or train it again")


def refuse_packed(net: nn.Module, who: str) -> None:
    """Refuses a network with packed layers where plain weights are needed.

    Args:
        net: any network.
        who: id of the transform that needs them.

    Raises:
        UserError: names the first packed layer and what to do.
    """
    for name, layer in packed_layers(net):
        bits = f"{layer.weight.bits_per_weight:.3g} bits a weight"
        raise UserError(
            f"{name} is packed already ({bits}) and {who} needs plain weights: apply {who} to the model before it "
            "was packed, or write a plain one first (twofold export --dense, or model.unpacked())"
        )
