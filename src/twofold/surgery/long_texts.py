"""Trained encoders made to read longer texts, and to read them as fewer rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from twofold.errors import UserError
from twofold.parts import Part, SequenceModel, TokenEmbedding, Vcc
from twofold.parts.positions import Interpolated
from twofold.parts.vcc import unfit


def read_longer(net: SequenceModel, length: int) -> SequenceModel:
    """Makes a network take `length` tokens, in place: learned positions are stretched for texts beyond their reach.

    Raises:
        UserError: what limits it is something else.
    """
    if net.max_len is None or net.max_len >= length:
        return net
    embedding = net.embedding
    if isinstance(embedding, TokenEmbedding) and embedding.position.max_len is not None:
        position = embedding.position
        embedding.position = Interpolated(getattr(position, "learned", position), length)
    if net.max_len is not None and net.max_len < length:
        raise UserError(f"a part of this network reads at most {net.max_len} tokens; use that length, or another model")
    return net


def with_vcc(
    net: SequenceModel,
    rows: int = 128,
    sizes: Sequence[int] = (128, 16, 1),
    first: int = 1,
    last: int = 0,
    count_bias: bool = True,
    score: str = "sum",
) -> SequenceModel:
    """Lets the blocks of full attention read a text as few rows, in place; all others see every token as before.

    Blocks that follow one another share a segment tree; weights stay the same tensors. Arguments as of `Vcc`.

    Raises:
        UserError: no block that could, or no important tokens.
    """
    groups: list[list[Part]] = []
    made: list[Part] = []
    for layer in net.stack.layers:
        assert isinstance(layer, Part)
        if unfit(layer):
            made.append(layer)
            continue
        if not made or not groups or made[-1] is not groups[-1][0]:
            groups.append([])
            made.append(layer)
        groups[-1].append(layer)
    if not groups:
        raise UserError(f"no layer can read means of segments: {unfit(net.stack.layers[0])}")
    for group in groups:
        made[made.index(group[0])] = Vcc(group, rows, sizes, first, last, count_bias, score)
    net.stack.layers = nn.ModuleList(made)
    return net
