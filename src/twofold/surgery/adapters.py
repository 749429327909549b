"""Low-rank adapters on a trained network: put beside its linear maps, and merged into them again."""

from __future__ import annotations

from twofold.errors import UserError
from twofold.parts import Linear, LowRank, Part, SequenceModel, replace_linears


def add_adapters(net: SequenceModel, rank: int, alpha: float = 16.0, top: int = 0) -> SequenceModel:
    """Freezes a network and puts an adapter beside every linear map of its `top` last blocks (0: of all), in place.

    Raises:
        UserError: it has fewer blocks, a rank that a map is too narrow for, or no linear map there.
    """
    blocks = net.stack.layers
    if top > len(blocks):
        raise UserError(f"adapters on {top} layers were asked for, and there are {len(blocks)}; use at most that")
    net.requires_grad_(False)
    made: list[LowRank] = []

    def adapted(_: str, layer: Linear) -> Part:
        made.append(LowRank(layer, rank, alpha))
        return made[-1].to(next(layer.parameters()).device).train(layer.training)

    for block in blocks[len(blocks) - top if top else 0 :]:
        replace_linears(block, adapted)
    if not made:
        raise UserError("there is no linear map in those layers that an adapter could stand beside")
    return net


def merge_adapters(net: Part) -> None:
    """Adds every adapter to the map that it stands beside, in place: plain matrices again, the same function."""
    replace_linears(net, lambda _, layer: layer.merge() if isinstance(layer, LowRank) else layer)
