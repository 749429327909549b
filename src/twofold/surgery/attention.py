"""Another kind of attention in the place of a trained one: the weights stay, what they see changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twofold.errors import UserError
from twofold.parts import Attention, Block, Position, SequenceModel, build
from twofold.parts.named import kebab, names


def attentions(net: SequenceModel) -> list[Attention]:
    """The attention of every layer.

    Raises:
        UserError: a layer has none.
    """
    found = []
    for number, layer in enumerate(net.stack.layers):
        mixer = layer.mixer if isinstance(layer, Block) else None
        if not isinstance(mixer, Attention):
            kind = "no mixer" if mixer is None else f"the mixer {kebab(type(mixer).__name__)}"
            raise UserError(f"layer {number} has {kind}; give a model whose layers are all attention")
        found.append(mixer)
    return found


def change_attention(
    net: SequenceModel,
    layers: Sequence[int],
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    position: Position | None = None,
) -> SequenceModel:
    """Puts attention of another kind into some layers, in place; every tensor stays the same object's values.

    Args:
        net: a network whose layers are all attention.
        layers: their numbers, from 0.
        kind: name of the new kind, such as `block-local`; None: as it was.
        options: of the new kind (`{"width": 512}`).
        position: for those layers, in place of their own; None: their own.

    Raises:
        UserError: a layer that is not there, or a kind that does not fit.
    """
    old = attentions(net)
    for number in layers:
        if not 0 <= number < len(old):
            raise UserError(f"there is no layer {number}; the model has layers 0 to {len(old) - 1}")
        was = old[number]
        spec: dict[str, Any] = {**was.spec(), **(options or {})}
        if kind is not None:
            spec["part"] = names(Attention)[kind].__name__
        kept = was.position if position is None else position
        net.stack.layers[number].mixer = _with(spec, was, kept)
    return net


def _with(spec: Mapping[str, Any], was: Attention, position: Position) -> Attention:
    """The attention of that spec with the maps of `was` (the same parameters) and a position."""
    made = build({**spec, "position": position.spec()})
    assert isinstance(made, Attention)
    for name in ("query", "key", "value", "out"):
        setattr(made, name, getattr(was, name))
    made.position = position  # also one that all layers share
    return made.train(was.training)
