"""Parts by the names that people write: `ssd`, `{kind: attention, kv_heads: 2}`, `rope`, `swiglu`.

A part's name is its class name in lower case with hyphens (`LocalAttention`: `local-attention`), so every mixer,
position and channel mixer can be named once it is there; a few have shorter names too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from twofold.errors import UserError, unknown
from twofold.parts import arguments
from twofold.parts.channels.ffn import ChannelMixer
from twofold.parts.mixers.mixer import Mixer
from twofold.parts.part import Part, registered
from twofold.parts.positions import Position

Named = str | Mapping[str, Any]
"""A name, or a mapping with `kind` and options."""

SHORT: dict[type[Part], dict[str, tuple[str, dict[str, Any]]]] = {
    Mixer: {"window": ("local-attention", {"window": 64}), "retention": ("gated-retention", {})},
    Position: {"none": ("no-position", {}), "t5": ("t5-bias", {})},
    ChannelMixer: {
        "relu": ("ffn", {"activation": "relu"}),
        "gelu": ("ffn", {"activation": "gelu"}),
        "geglu": ("ffn", {"activation": "gelu", "gate": True}),
        "swiglu": ("ffn", {"activation": "silu", "gate": True}),
    },
}
"""Short names, by kind of part: the long name and options."""

_INSIDE: dict[type[Part], str] = {Mixer: "ssd"}
"""Examples that can stand inside any other part of their kind, where the first name cannot."""

_SPELLED = {"MoE": "moe"}

PLACES: dict[str, type[Part]] = {"mixer": Mixer, "position": Position, "channel": ChannelMixer}
"""Where a layer of a pattern has a part by name, and of which kind."""


def kebab(name: str) -> str:
    """`LocalAttention` → `local-attention`, `T5Bias` → `t5-bias`, `FFN` → `ffn`."""
    return _SPELLED.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def names(kind: type[Part]) -> dict[str, type[Part]]:
    """Every name of a kind of part (`Mixer`, `Position`, `ChannelMixer`), with its class."""
    long = {kebab(name): cls for name, cls in registered(kind).items()}
    return long | {short: long[name] for short, (name, _) in SHORT.get(kind, {}).items()}


def chosen(kind: type[Part], given: Named) -> tuple[type[Part], dict[str, Any]]:
    """The class that a name means, and the options that come with it.

    Raises:
        UserError: no such name, or no name at all.
    """
    if isinstance(given, Mapping):
        options = {str(k): v for k, v in given.items() if k != "kind"}
        name = given.get("kind")
    else:
        options, name = {}, given
    known = names(kind)
    if not isinstance(name, str):
        raise UserError(f"a {_word(kind)} is a name, or {{kind: name, option: value}}, not {arguments.shown(given)}")
    if name not in known:
        place = next((place for place, other in PLACES.items() if name in names(other)), None)
        if place is not None:
            raise UserError(
                f"{name} is no {_word(kind)} but a {_word(PLACES[place])}; write {place}: {name} in its layer"
            )
        raise unknown(_word(kind), name, known)
    long = SHORT.get(kind, {}).get(name)
    return known[name], {**(long[1] if long else {}), **options}


def make(kind: type[Part], given: Named, fill: Mapping[str, Any]) -> Part:
    """A part from its name.

    Args:
        kind: `Mixer`, `Position`, `ChannelMixer`, or another base class of parts.
        given: the name, or a mapping with `kind` and options; options that are parts themselves are named likewise.
        fill: what its surroundings know (`dim`, `heads`, …); a part takes of it what it has an argument for.

    Raises:
        UserError: an unknown name or option, a value that does not fit, or one that is missing.
    """
    cls, options = chosen(kind, given)
    parameters = arguments.parameters(cls)
    if missing := _missing(cls, fill, options):
        typed = {"kind": given} if isinstance(given, str) else dict(given)
        needs = f"{_word(kind)} {typed['kind']} needs {' and '.join(missing)}"
        typed |= {name: _example(parameters[name].annotation, fill, "…") for name in missing}
        raise UserError(f"{needs}; write {_flow(typed)}")
    for name, value in options.items():
        inner = _part_of(parameters[name].annotation) if name in parameters else None
        if inner is not None and isinstance(value, str | Mapping):
            options[name] = make(inner, value, fill)
    every = {k: v for k, v in fill.items() if k in parameters and v is not None} | options
    arguments.check(cls, every)
    return cls(**every)


def misplaced(layer: Mapping[str, Any], key: str) -> UserError | None:
    """The error for a key of a layer that is an option of one of its parts; None: it is of none."""
    for place, kind in PLACES.items():
        given = layer.get(place)
        typed = dict(given) if isinstance(given, Mapping) else {"kind": given}
        cls = names(kind).get(str(typed.get("kind")))
        if cls is not None and key in arguments.parameters(cls):
            written = _flow({place: typed | {key: layer[key]}})[1:-1]
            return UserError(f"{key} is an option of {typed['kind']}, not of its layer; write {written}")
    return None


def _missing(cls: type[Part], fill: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Arguments that neither a person nor the surroundings gave, and that have no default."""
    known = {name for name, value in fill.items() if value is not None} | set(options)
    parameters = arguments.parameters(cls)
    return [name for name, each in parameters.items() if each.default is each.empty and name not in known]


def _example(annotation: Any, fill: Mapping[str, Any], other: Any) -> Any:
    """A part that an argument would take, as plain data, and what that needs itself; `other` where it takes no part."""
    kind = _part_of(annotation)
    if kind is None:
        return other
    name = _INSIDE.get(kind) or next(iter(names(kind)))
    cls, _ = chosen(kind, name)
    parameters = arguments.parameters(cls)
    needed = {each: _example(parameters[each].annotation, fill, 4) for each in _missing(cls, fill, {})}
    return {"kind": name, **needed} if needed else name


def _flow(given: Mapping[str, Any]) -> str:
    """Plain data on one line, as it is typed."""
    text: str = yaml.safe_dump(given, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.strip()


def _word(kind: type[Part]) -> str:
    return kebab(kind.__name__).replace("-", " ")


def _part_of(annotation: Any) -> type[Part] | None:
    """The class of parts that an argument takes, from its annotation."""
    words = re.findall(r"\w+", annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
    return next((cls for cls in _below(Part) if cls.__name__ in words), None)


def _below(cls: type[Part]) -> Iterator[type[Part]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _below(sub)
