"""Zeros where something was cut, so that formats with one width for all layers can hold a pruned network.

The function is exactly the same: a neuron whose way out is zero adds nothing (whatever its nonlinearity), and a
head whose values are zero gives zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from twofold.checkpoints.formats.base import Format
from twofold.checkpoints.formats.shape import Spec, expanded


def fill_up(spec: Mapping[str, Any], tensors: Mapping[str, Tensor], target: Format) -> tuple[Spec, dict[str, Tensor]]:
    """A spec and tensors with every layer as wide as `target` needs it.

    Layers without attention or feed-forward part get ones that add nothing. Networks that are not shaped like
    the format's come back as they are; `to_config` then says why.
    """
    filled, out = expanded(spec), dict(tensors)
    try:
        heads, groups, hidden = target.widths(filled)
        layers = filled["stack"]["layers"]
        mixer_like = next(layer["mixer"] for layer in layers if layer["mixer"])
        channel_like = next(layer["channel"] for layer in layers if layer["channel"])
    except (KeyError, TypeError, StopIteration, ZeroDivisionError):
        return dict(spec), dict(tensors)
    like = next(iter(tensors.values()), torch.empty(0))
    for number, layer in enumerate(layers):
        place = f"stack.layers.{number}"
        mixer: Spec = layer["mixer"] or {**mixer_like, "heads": 0, "kv_heads": 0}
        channel: Spec = layer["channel"] or {**channel_like, "hidden": 0}
        if layer["mixer"] is None:
            _empty(out, f"{place}.mixer", mixer, ("query", "key", "value"), "out", like)
        if layer["channel"] is None:
            readers = ("up", "gate") if channel.get("gate") else ("up",)
            _empty(out, f"{place}.channel", channel, readers, "down", like)
        layer["mixer"], layer["channel"] = mixer, channel
        if (
            mixer.get("part") in ("Attention", "LocalAttention")
            and mixer["heads"] * groups == mixer["kv_heads"] * heads
        ):
            for name, count in (("query", heads), ("key", groups), ("value", groups)):
                _grow(out, f"{place}.mixer.{name}", rows=count * mixer["head_dim"])
            _grow(out, f"{place}.mixer.out", columns=heads * mixer["head_dim"])
            mixer["heads"], mixer["kv_heads"] = heads, groups
        if channel.get("part") == "FFN":
            for name in ("up", "gate"):
                _grow(out, f"{place}.channel.{name}", rows=hidden)
            _grow(out, f"{place}.channel.down", columns=hidden)
            channel["hidden"] = hidden
    return filled, out


def _empty(out: dict[str, Tensor], place: str, part: Spec, readers: tuple[str, ...], writer: str, like: Tensor) -> None:
    """Linear maps of zero width, to be grown."""
    dim = part["dim"]
    for name in readers:
        out[f"{place}.{name}.weight"] = like.new_zeros(0, dim)
        if part["bias"]:
            out[f"{place}.{name}.bias"] = like.new_zeros(0)
    out[f"{place}.{writer}.weight"] = like.new_zeros(dim, 0)
    if part["out_bias"] if writer == "out" else part["bias"]:
        out[f"{place}.{writer}.bias"] = like.new_zeros(dim)


def _grow(out: dict[str, Tensor], place: str, rows: int = 0, columns: int = 0) -> None:
    weight = out.get(f"{place}.weight")
    if weight is None or weight.ndim != 2:
        return
    more_rows, more_columns = max(0, rows - weight.shape[0]), max(0, columns - weight.shape[1])
    out[f"{place}.weight"] = torch.nn.functional.pad(weight, (0, more_columns, 0, more_rows))
    bias = out.get(f"{place}.bias")
    if bias is not None and more_rows:
        out[f"{place}.bias"] = torch.nn.functional.pad(bias, (0, more_rows))
