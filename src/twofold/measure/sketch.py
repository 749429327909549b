"""What a network's blocks look like, what a token costs as texts grow, and what it remembers: for a person to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

import torch
from torch import nn

from twofold.errors import UserError
from twofold.measure.costs import cost
from twofold.parts import (
    Block,
    Combiner,
    Convolved,
    EncoderDecoder,
    Hierarchy,
    Loop,
    Mixer,
    NextToken,
    PatchStage,
    SequenceModel,
    SharedCache,
    Stack,
    TreeEncoder,
    TwoWay,
    Vcc,
)
from twofold.parts.named import kebab
from twofold.parts.positions import NoPosition
from twofold.parts.stack import Bare, Parallel, PostNorm, PreNorm, Sandwich, Shaped, ShapedParallel, Single

LENGTHS = (512, 2_048, 8_192)
"""Tokens at which costs are counted."""

Drawable = SequenceModel | EncoderDecoder | NextToken | TreeEncoder
"""Networks that can be drawn."""

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


def sketch(make: Callable[[int], nn.Module | None], objectives: Sequence[str] = ()) -> dict[str, Any]:
    """A drawing and costs of a network, JSON-able.

    Args:
        make: from the longest input to the network; called where no weights are made.
        objectives: what it can learn by; none: what its parts tell.

    Returns:
        `blocks` (lines of a drawing), `flops_per_token` by length and its `exponent` (cost of a token ~ T^p between the
        two longest), `cache` (how it grows, and bytes of one row by length; None: it has no steps), `positions` and
        `objectives`. What a part does not say is None.

    Raises:
        UserError: the network is not made of blocks.
    """
    nets: dict[int, Any] = {}
    with torch.device("meta"):
        for length in LENGTHS:
            nets[length] = make(length)
    net = nets[LENGTHS[0]]
    if not isinstance(net, Drawable):
        raise UserError(f"{type(net).__name__} is not made of blocks, so there is nothing to draw")
    flops = _counted(nets)
    return {
        "blocks": drawing(net),
        "flops_per_token": flops,
        "exponent": _exponent(flops),
        "cache": _cache(nets),
        "positions": _positions(net),
        "objectives": _objectives(net, objectives),
    }


def drawing(net: Drawable) -> list[str]:
    """Blocks from the first to the last, equal neighbours once, each with its residual paths underneath.

    Blocks inside something else (a loop, a patch) stand below what holds them, further to the right.
    """
    if isinstance(net, TreeEncoder):
        join = kebab(type(net.composition).__name__)
        return [
            f"x ─ the two most alike neighbours ─ {join} ─ one node instead, until one is left →",
            f"  ← every leaf again ─ {join}, from parents to children ─ the node that is left",
        ]
    if isinstance(net, EncoderDecoder):
        return [*_held("reads:", net.encoder.stack), *_held("writes:", net.decoder.stack)]
    if isinstance(net, Hierarchy):
        lines: list[str] = []
        for outer, count in zip(net.outer, net.lengths, strict=False):
            patch = cast(PatchStage, outer)
            lines += _held(f"of up to {count} patches of {patch.patch} tokens, each after those before:", patch.stack)
        return lines + _held("inside a patch, token by token:", net.stack)
    return _drawn(net.stack.layers)


def _held(title: str, stack: Stack) -> list[str]:
    return [title, *(f"  {line}" for line in _drawn(stack.layers))]


def _drawn(layers: Iterable[nn.Module]) -> list[str]:
    lines: list[str] = []
    for (line, inner), group in groupby((_line(layer), _inner(layer)) for layer in layers):
        times = len(list(group))
        lines.append(f"{line}  × {times}" if times > 1 else line)
        if below := _below(line):
            lines.append(below)
        lines += [f"    {each}" for each in inner]
    return lines


def _inner(layer: Any) -> list[str]:
    """The drawing of what a layer holds."""
    return _drawn(layer.layers) if isinstance(layer, Loop | SharedCache | Vcc) else []


def _line(layer: Any) -> str:
    if isinstance(layer, Loop):
        return f"x ─ {layer.times} times{'' if layer.norm is None else ', x added again each time'} →"
    if isinstance(layer, SharedCache):
        return "x ─ keys and values made once, which all of these read →"
    if isinstance(layer, Vcc):
        ends = " and ".join(f"the {end} {n}" for end, n in (("first", layer.first), ("last", layer.last)) if n)
        return f"x ─ {ends} whole, the other tokens as about {layer.rows} means →"
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
    if isinstance(mixer, TwoWay):
        return f"two-way {_named(mixer.inner)}"
    position = _position(mixer)
    return kebab(type(mixer).__name__) + (f" ({position})" if position else "")


def _position(mixer: Any) -> str:
    """The name of a mixer's own position; empty: it has none."""
    position = getattr(mixer, "position", None)
    return "" if position is None or isinstance(position, NoPosition) else kebab(type(position).__name__)


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


def _counted(nets: Mapping[int, Drawable]) -> dict[str, float] | None:
    found = {}
    for length, net in nets.items():
        if not isinstance(net, SequenceModel):
            return None
        try:
            found[str(length)] = cost(net, length).flops
        except (UserError, NotImplementedError):
            return None
    return found


def _exponent(flops: dict[str, float] | None) -> float | None:
    if flops is None:
        return None
    (short, fast), (long, slow) = list(flops.items())[-2:]
    return round(math.log(slow / fast) / math.log(int(long) / int(short)), 2)


def _cache(nets: Mapping[int, Drawable]) -> dict[str, Any] | None:
    caches = {}
    for length, net in nets.items():
        stepping = net.decoder if isinstance(net, EncoderDecoder) else net
        if not isinstance(stepping, SequenceModel):
            return None
        try:
            caches[length] = stepping.new_cache(1, length, device="meta")
        except UserError:
            return None
    growth = _GROWTH[next(iter(caches.values())).growth]
    return {"growth": growth, "bytes": {str(length): cache.bytes_at(length) for length, cache in caches.items()}}


def _positions(net: Drawable) -> str:
    if isinstance(net, TreeEncoder):
        return "none: its place in the tree is all that is known of a token"
    inner = [mixer.mixer if isinstance(mixer, Convolved) else mixer for mixer in _mixers(net)]
    if any(isinstance(mixer, Combiner) for mixer in inner):
        return (
            "rope, log-scale or none in its layers; learned, sinusoid and axis-positions at the embedding: it does not "
            "look at every pair"
        )
    if all(getattr(mixer, "has_qk", False) for mixer in inner if not mixer.needs_memory):
        return "all: it has queries and keys"
    if isinstance(net, NextToken):
        return "none: its layers are recurrent"
    own = {name for part in net.modules() if isinstance(part, Mixer) and not part.has_qk if (name := _position(part))}
    if own:
        return f"learned and sinusoid, at the embedding: it has its own {' and '.join(sorted(own))} and takes no other"
    return "learned and sinusoid, at the embedding: not every layer has queries and keys"


def _objectives(net: Drawable, known: Sequence[str]) -> list[str]:
    if isinstance(net, EncoderDecoder):
        return ["a target from its source", "hidden spans"]
    if isinstance(net, TreeEncoder):
        return ["its own leaves, told from the root"]
    if isinstance(net, NextToken):
        return ["next token, from a window before it"]
    if known:
        return list(known)
    kinds = {mixer.causal for mixer in _mixers(net)}
    found = ["next token"] if "no" not in kinds else []
    return found + (["hidden tokens", "search and classification"] if "yes" not in kinds else [])


def _mixers(net: nn.Module) -> list[Any]:
    return [part.mixer for part in net.modules() if isinstance(part, Block) and part.mixer is not None]
