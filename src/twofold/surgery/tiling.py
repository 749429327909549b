"""Starting a large network from a small one: its weights, laid out as tiles.

Warner et al. 2024, https://arxiv.org/abs/2412.13663, section 2.2.2: "centre tiling", after Phi (Li et al. 2023): the
small matrix stands in the middle of the large one and goes on from there, wrapped around.
"""

from __future__ import annotations

import torch
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import SequenceModel
from twofold.parts.mixers.attention import Attention


def tiled(small: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """A tensor of `shape` with `small` in its middle, repeated outwards along every axis.

    Raises:
        UserError: another number of axes, or an axis that would have to shrink.
    """
    if small.ndim != len(shape) or any(own > wanted for own, wanted in zip(small.shape, shape, strict=True)):
        raise UserError(f"a tensor {list(small.shape)} does not tile {list(shape)}; no axis may be shorter")
    for axis, (own, wanted) in enumerate(zip(small.shape, shape, strict=True)):
        before = (wanted - own) // 2
        small = small.index_select(axis, (torch.arange(wanted, device=small.device) - before) % own)
    return small


@torch.no_grad()
def tile_init(small: SequenceModel, large: SequenceModel) -> None:
    """Fills `large` from `small`, in place: matrices by centre tiling (heads whole), layers likewise, wrapped around.

    The vocabulary must be the same. Tensors that only `large` has (such as the norm before a later first block's
    attention) keep what they hold.

    Raises:
        UserError: a part of another shape, or something smaller in `large`.
    """
    if small.vocab != large.vocab:
        raise UserError(f"vocabularies of {small.vocab} and {large.vocab} tokens; tiling needs the same one")
    before = (len(large.stack.layers) - len(small.stack.layers)) // 2
    if before < 0:
        raise UserError("the large network has fewer layers than the small one; swap them")
    given = small.tensors()
    for name, tensor in large.tensors().items():
        pieces = name.split(".", 3)
        if pieces[:2] == ["stack", "layers"]:
            source = (int(pieces[2]) - before) % len(small.stack.layers)
            origin = f"stack.layers.{source}.{pieces[3]}"
            found = given.get(origin)
            if found is not None:
                tensor.copy_(_layer(found, tensor.shape, pieces[3], small.stack.layers[source].mixer))
        elif name in given:
            tensor.copy_(tiled(given[name], tensor.shape))


def _layer(found: Tensor, shape: torch.Size, place: str, mixer: object) -> Tensor:
    """One tensor of a layer; whole heads stay together, so that a head of the small network is one of the large."""
    if not isinstance(mixer, Attention) or not place.startswith("mixer."):
        return tiled(found, shape)
    own, kind = mixer.head_dim, place.split(".")[1]
    axis = {"query": 0, "key": 0, "value": 0, "out": 1}.get(kind)
    if axis is None or axis >= found.ndim or shape[axis] % own:
        return tiled(found, shape)
    apart, wanted = list(found.shape), list(shape)
    apart[axis : axis + 1] = [found.shape[axis] // own, own]
    wanted[axis : axis + 1] = [shape[axis] // own, own]
    return tiled(found.reshape(apart), tuple(wanted)).reshape(shape)
