"""What a network's blocks look like, what a token costs as texts grow, and what it remembers: for a person to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch

from twofold.errors import UserError
from twofold.measure.costs import cost
from twofold.parts import Block, Convolved, SequenceModel
from twofold.parts.named import kebab
from twofold.parts.stack import Bare, Parallel, PostNorm, PreNorm, Sandwich, Shaped, ShapedParallel, Single

LENGTHS = (512, 2_048, 8_192)
"""Tokens at which costs are counted."""

_DRAWN: dict[type, str] = {
    PreNorm: "x ─┬─ norm ─ {mixer} ─ + ─┬─ norm ─ {channel} ─ + →",
    PostNorm: "x ─┬─ {mixer} ─ + ─ norm ─┬─ {channel} ─ + ─ norm →",
    Parallel: "x ─┬─ norm ─ {mixer}, beside it {channel} ─ + →",
    Sandwich: "x ─┬─ norm ─ {mixer} ─ norm ─ + ─┬─ norm ─ {channel} ─ norm ─ + →",
    Single: "x ─┬─ norm ─ {mixer} ─ + →",
    Bare: "x ─ {mixer} →",
    Shaped: "x ─ norm ─ {mixer} ─ norm ─ {channel} →",
    ShapedParallel: "x ─ norm ─ {mixer}, beside it {channel} →",
}
_GROWTH = {
    "const": "the same for every length",
    "window": "up to a window, then the same",
    "linear": "with the length",
}


def sketch(make: Callable[[int], SequenceModel]) -> dict[str, Any]:
    """A drawing and costs of a network, JSON-able.

    Args:
        make: from the longest input to the network; called where no weights are made.

    Returns:
        `blocks` (lines of a drawing), `flops_per_token` by length and its `exponent` (cost of a token ~ T^p between the
        two longest), `cache` (how it grows, and bytes of one row by length; None: it has no steps), `positions` and
        `objectives`. What a part does not say is None.

    Raises:
        UserError: the network is no stack of blocks.
    """
    nets = {}
    with torch.device("meta"):
        for length in LENGTHS:
            nets[length] = make(length)
    net = nets[LENGTHS[0]]
    if not isinstance(net, SequenceModel):
        raise UserError(f"{type(net).__name__} is no stack of blocks, so there is nothing to draw")
    flops = _counted(nets)
    return {
        "blocks": drawing(net),
        "flops_per_token": flops,
        "exponent": _exponent(flops),
        "cache": _cache(nets),
        "positions": _positions(net),
        "objectives": _objectives(net),
    }


def drawing(net: SequenceModel) -> list[str]:
    """Blocks from the first to the last, equal neighbours once, each with its residual paths underneath."""
    lines: list[str] = []
    drawn = [(_line(layer), layer) for layer in net.stack.layers]
    for line, group in groupby(drawn, key=lambda each: each[0]):
        times = len(list(group))
        lines.append(f"{line}  × {times}" if times > 1 else line)
        if below := _below(line):
            lines.append(below)
    return lines


def _line(layer: Any) -> str:
    if not isinstance(layer, Block):
        return f"x ─ {kebab(type(layer).__name__)} →"
    form = _DRAWN.get(
        type(layer.wiring), f"x ─ {{mixer}}, {{channel}}, joined by {kebab(type(layer.wiring).__name__)} →"
    )
    if layer.channel is None:
        for piece in (
            "─┬─ norm ─ {channel} ─ + ",
            "─┬─ norm ─ {channel} ─ norm ─ + ",
            "─┬─ {channel} ─ + ─ norm ",
            ", beside it {channel}",
        ):
            form = form.replace(piece, "")
    channel = "nothing" if layer.channel is None else _channel(layer.channel)
    return form.format(mixer=_named(layer.mixer), channel=channel)


def _named(mixer: Any) -> str:
    if mixer is None:
        return "nothing"
    if isinstance(mixer, Convolved):
        return f"causal-conv {mixer.conv.kernel} ─ {_named(mixer.mixer)}"
    position = getattr(mixer, "position", None)
    name = kebab(type(position).__name__) if position is not None else "no-position"
    return kebab(type(mixer).__name__) + ("" if name == "no-position" else f" ({name})")


def _channel(channel: Any) -> str:
    return kebab(type(channel).__name__) + (" (gated)" if getattr(channel, "gate", None) not in (None, False) else "")


def _below(line: str) -> str:
    """The paths around what stands between a fork and the next sum."""
    out, fork = [" "] * len(line), None
    for place, sign in enumerate(line):
        if sign == "┬":
            fork = place
        elif sign == "+" and fork is not None:
            out[fork : place + 1] = ["└", *"─" * (place - fork - 1), "┘"]
            fork = None
    return "".join(out).rstrip()


def _counted(nets: dict[int, SequenceModel]) -> dict[str, float] | None:
    try:
        return {str(length): cost(net, length).flops for length, net in nets.items()}
    except (UserError, NotImplementedError):
        return None


def _exponent(flops: dict[str, float] | None) -> float | None:
    if flops is None:
        return None
    (short, fast), (long, slow) = list(flops.items())[-2:]
    return round(math.log(slow / fast) / math.log(int(long) / int(short)), 2)


def _cache(nets: dict[int, SequenceModel]) -> dict[str, Any] | None:
    try:
        caches = {length: net.new_cache(1, length, device="meta") for length, net in nets.items()}
    except UserError:
        return None
    growth = _GROWTH[next(iter(caches.values())).growth]
    return {"growth": growth, "bytes": {str(length): cache.bytes_at(length) for length, cache in caches.items()}}


def _positions(net: SequenceModel) -> str:
    inner = [mixer.mixer if isinstance(mixer, Convolved) else mixer for mixer in _mixers(net)]
    if all(getattr(mixer, "has_qk", False) for mixer in inner):
        return "all: it has queries and keys"
    return "learned and sinusoid, at the embedding: not every layer has queries and keys"


def _objectives(net: SequenceModel) -> list[str]:
    kinds = {mixer.causal for mixer in _mixers(net)}
    found = ["next token"] if "no" not in kinds else []
    return found + (["hidden tokens", "search and classification"] if "yes" not in kinds else [])


def _mixers(net: SequenceModel) -> list[Any]:
    return [layer.mixer for layer in net.stack.layers if isinstance(layer, Block) and layer.mixer is not None]
