"""The names that backbones have: what there is, what a misspelt one may have meant, and how one becomes an arm."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from twofold import catalog
from twofold.catalog import index
from twofold.errors import UserError, meant, near_names
from twofold.parts import Mixer, Pattern
from twofold.parts.fitting import usual_heads
from twofold.parts.named import names

SIZED = re.compile(r"([a-z0-9-]+)-(\d+)x(\d+)")
"""A name with its size, layers × width: `ssd-2x64`."""

SHORTEST = 8
"""Tokens for which the layers of a name are made at least: systems take no fewer, and usual sizes fit into them."""

_PREDICTS = "ssd-4x128"
_CAUSAL = ("language", "solve")
_WINDOW = 64
_CONV = 3
_STATE_HEAD = 64  # features in a head of SSD and Hydra, whose inner width is twice the outer one
_MOST, _WIDEST = 1_000, 100_000
_MORE_THAN_LAYERS = ("entp",)  # its layers are those of any encoder; that it reads every prefix anew is its network's
_CARRIERS = {
    "language": ("backbone", "backbone"),
    "solve": ("backbone", "backbone"),
    "represent": ("masked-backbone", "backbone"),
    "search": ("gtr", "backbone"),
    "classify": ("modernbert", "start_from"),
}
"""By task, the plain system that takes any backbone, and the option that names it."""


def systems() -> dict[str, str]:
    """Systems whose layers can be asked for, with their summaries: models of the mixers family."""
    return {
        card["id"]: card["summary"]
        for card in index.cards()
        if card.get("family") == "mixers"
        and {"dim", "layers", "conv"} <= set(card["options"])
        and card["id"] not in _MORE_THAN_LAYERS
    }


def layered() -> tuple[str, ...]:
    """Mixers and systems: what a stack of layers can be made of by name."""
    mixers = [name for name, kind in names(Mixer).items() if not getattr(kind, "needs_memory", False)]
    return tuple(dict.fromkeys((*mixers, *systems())))


def described() -> list[dict[str, str]]:
    """Mixers and systems, each with `id`, `kind` and `summary`."""
    found = [("mixer", name, first_line(kind)) for name, kind in names(Mixer).items() if name in layered()]
    found += [("system", name, summary) for name, summary in systems().items() if name not in names(Mixer)]
    return [{"id": id, "kind": kind, "summary": summary} for kind, id, summary in found]


def unknown_backbone(name: Any, known: Mapping[str, str], wanted: str) -> UserError:
    """The error for a name that is no backbone: the nearest of those that would be, with the size that was typed.

    Args:
        known: names and their kinds; a preset needs a size, and what was trained has its own.
        wanted: what can be named in this place, as the end of "give …".
    """
    text = str(name)
    bare = parts(text)[0]
    size = text.removeprefix(bare)
    sizes = {"mixer": size, "system": size, "preset": size or "-4x128"}
    if any(card["id"] == bare for card in index.select(family="mixers")) and bare not in layered():
        return UserError(
            f"{bare} is a system and no backbone: its layers do not stand by themselves; train it as it is (twofold "
            f"show {bare}), or give {wanted}; all names: twofold list --backbones"
        )
    near = [each + sizes.get(known[each], "") for each in _called(bare, known) or near_names(bare, known, alike=3)]
    return UserError(f"unknown backbone {text!r}.{meant(near)} Give {wanted}; all names: twofold list --backbones")


def _called(name: str, known: Mapping[str, str]) -> list[str]:
    """Known names whose summaries begin with that one: `mamba-2` is `ssd`."""
    plain = name.replace("-", "")
    return [
        each["id"]
        for each in described()
        if each["id"] in known and each["summary"].partition(":")[0].lower().replace("-", "") == plain
    ]


def as_arm(name: str, task: str) -> str | None:
    """How a backbone stands in a comparison: `backbone(backbone=ssd-4x128)`; None: it is none for the task."""
    bare, layers, dim = parts(name)
    if task not in _CARRIERS or bare not in layered():
        return None
    try:
        _try(name, causal=task in _CAUSAL or None)
    except UserError:
        return None
    system, option = _CARRIERS[task]
    return f"{system}({option}={bare}-{layers}x{dim})"


def sized(name: str) -> bool:
    """Whether it is a mixer's or a system's name with a size behind it."""
    return SIZED.fullmatch(name) is not None and parts(name)[0] in layered()


def nearest(name: str, task: str) -> str | None:
    """What a misspelt name with a size may have meant, as `as_arm` writes it."""
    bare, layers, dim = parts(name)
    near = difflib.get_close_matches(bare, layered(), n=1, cutoff=0.6) if SIZED.fullmatch(name) else []
    return as_arm(f"{near[0]}-{layers}x{dim}", task) if near else None


def fix(name: str, task: str) -> str:
    """What to do about an arm that does not serve a task."""
    written = as_arm(name, task)
    if written is not None:
        return f'as a backbone it is written --systems "{written}"'
    if task in _CARRIERS and parts(name)[0] in layered():
        try:
            _try(name)
        except UserError as error:
            return f"as a backbone it is refused: {error}"
        return f'it looks ahead; name one that does not, such as --systems "{as_arm(_PREDICTS, task)}"'
    return "leave it out of --systems"


def _try(name: str, causal: bool | None = None) -> None:
    """Makes the network without weights (UserError: it is refused)."""
    with torch.device("meta"):
        pattern(name, 128, 4).network(260, causal=causal, max_len=512, head=False)


def pattern(
    name: str, dim: int, layers: int, *, heads: int | None = None, conv: int = 0, max_len: int = 512
) -> Pattern:
    """The layers that a mixer's or a system's name stands for; as `backbones.pattern`, for names alone.

    Args:
        max_len: the longest input, at least `SHORTEST`.

    Raises:
        UserError: no such name; names the nearest.
    """
    try:
        found = _pattern(name, dim, layers, heads, conv, max_len)
        if sized(name):
            with torch.device("meta"):
                found.network(260, max_len=max_len, head=False)
    except UserError as error:
        fitting = _fitting(name, heads, conv, max_len) if sized(name) else None
        if fitting is None:
            raise
        reason, advice = re.split("; (?:use|give) ", f"{error}; use ", maxsplit=1)
        fewer = re.search(r"\bheads=\d+", advice) if heads is not None else None
        raise UserError(f"{reason}; use {fitting}{f' or {fewer[0]}' if fewer else ''}") from None
    return found


def _pattern(name: str, dim: int, layers: int, heads: int | None, conv: int, max_len: int) -> Pattern:
    """As `pattern`; whether its layers fit together is not tried."""
    bare, layers, dim = parts(name, layers, dim)
    if bare in names(Mixer):
        made = entries(bare, dim, layers, conv=conv, max_len=max_len)
        return Pattern.read(made, dim=dim, heads=heads, conv=conv)
    if bare in systems():
        heads = heads or usual_heads(dim)
        system: Any = catalog.configure(bare, dim=dim, layers=layers, heads=heads, conv=conv, length=max_len)
        found: Pattern = system.pattern()
        return found
    known = {each["id"]: each["kind"] for each in described()}
    raise unknown_backbone(name, known, "a mixer or a system with layers x width, such as ssd-2x128")


def _fitting(name: str, heads: int | None, conv: int, max_len: int) -> str | None:
    """The same name with the next width of which its layers can be made, or else with up to three layers more: a size
    in a name goes before one in an option. None: neither helps."""
    bare, layers, dim = parts(name)
    widths = {-(-dim // step) * step for step in (2, 4, 8, 16, 32, 64, 2 * (heads or 1))}
    sizes = [(layers, width) for width in sorted(widths - {dim})] + [(layers + more, dim) for more in (1, 2, 3)]
    for count, width in sizes:
        try:
            with torch.device("meta"):
                found = _pattern(f"{bare}-{count}x{width}", width, count, heads, conv, max_len)
                found.network(260, max_len=max_len, head=False)
        except UserError:
            continue
        return f"{bare}-{count}x{width}"
    return None


def entries(name: str, dim: int, layers: int, *, conv: int = 0, max_len: int = 512) -> list[dict[str, Any]]:
    """The layers that a mixer's name stands for, as a pattern writes them: equal blocks of it, with usual sizes where
    it cannot be made without any (windows of 64 tokens, strides of about √T, heads of about 64 features in state
    spaces that do not divide into such)."""
    if name == "convolved":
        return [{"mixer": "attention", "conv": conv or _CONV, "times": layers}]
    if name == "shared-attention":
        return [{"shared": [{"times": layers}]}]
    heads = _state_heads(dim)
    ssd: str | dict[str, Any] = {"kind": "ssd", **heads} if heads else "ssd"
    if name == "differential":
        return [{"mixer": {"kind": name, "inner": ssd, "layer": layer}} for layer in range(1, layers + 1)]
    near, stride = min(_WINDOW, max_len), max(2, round(max_len**0.5))
    channels = math.gcd(dim, max(1, dim // 32))
    needed: dict[str, dict[str, Any]] = {
        "local-attention": {"window": near},
        "block-local": {"width": near},
        "column-attention": {"stride": stride},
        "summary-attention": {"stride": stride, "summary": 1},
        "strided-attention": {"stride": stride},
        "fixed-attention": {"stride": stride, "summary": 1},
        "random-blocks": {"width": stride, "count": 4},
        "ring-conv": {"channels": channels, "positions": dim // channels},
        "two-way": {"inner": ssd, "back": ssd},
    }
    needed |= dict.fromkeys(("ssd", "hydra"), heads) if heads else {}
    return [{"mixer": {"kind": name, **needed[name]} if name in needed else name, "times": layers}]


def _state_heads(dim: int) -> dict[str, int]:
    """The head size of SSD and Hydra at a width that their own does not divide: the divisor that is nearest to it, as
    a ratio. Empty: their own will do."""
    inner = 2 * dim
    if inner % _STATE_HEAD == 0:
        return {}
    divisors = (size for size in range(1, inner + 1) if inner % size == 0)
    return {"head_dim": min(divisors, key=lambda size: abs(math.log(size / _STATE_HEAD)))}


def objectives(layers: Pattern) -> list[str]:
    """What a network of these layers can learn by: what it is built for without being refused."""
    with torch.device("meta"):
        net = layers.network(260, max_len=512)
        try:
            layers.network(260, causal=True, max_len=512)
            found = ["next token"]
        except UserError:
            found = []
    blind = all(part.causal == "yes" for part in net.modules() if isinstance(part, Mixer))
    hidden = "hidden tokens (from those before them)" if blind else "hidden tokens"
    return [*found, hidden, "search and classification"]


def of_system(system: Any) -> Pattern | None:
    """The layers that a system's id stands for as a backbone; None: it is none."""
    if system.id in names(Mixer):
        return pattern(system.id, 128, 4)
    found: Pattern | None = system.pattern() if system.id in systems() else None
    return found


def uses(name: str, learns: Sequence[str]) -> list[str]:
    """Commands that train with a backbone of that name, layers x width behind it, for each objective."""
    ways = {
        "next token": [f"twofold fit backbone my.txt --set backbone={name} -o model/"],
        "hidden tokens": [f"twofold fit masked-backbone my.txt --set backbone={name} -o model/"],
        "search and classification": [
            f"twofold fit gtr my.jsonl --set backbone={name} -o model/",
            f"twofold fit modernbert my.csv --task classify --set start_from={name} -o model/",
        ],
    }
    return [line for objective in learns for line in ways.get(objective, [])]


def trained(name: str) -> str | None:
    """The command that trains a backbone of that name, given where a system's id is wanted; None: it is none."""
    bare, layers, dim = parts(name)
    if bare not in layered():
        return None
    return uses(f"{bare}-{layers}x{dim}", objectives(pattern(name, dim, layers)))[0]


def parts(name: str, layers: int = 4, dim: int = 128) -> tuple[str, int, int]:
    """`ssd-2x64` as its name, layers and width; the others where it does not say.

    Raises:
        UserError: no layers, no width, or more of them than any network has.
    """
    sized = SIZED.fullmatch(name)
    if sized is None:
        return name, layers, dim
    bare, layers, dim = sized[1], int(sized[2]), int(sized[3])
    if not (1 <= layers <= _MOST and 1 <= dim <= _WIDEST):
        raise UserError(
            f"{name} means {layers:,} layers of width {dim:,}; give 1 to {_MOST:,} layers and a width of 1 to "
            f"{_WIDEST:,}, such as {bare}-2x128"
        )
    return bare, layers, dim


def first_line(thing: object) -> str:
    """What a part or a preset is, in the words of its docstring: its first paragraph as one line."""
    return " ".join((thing.__doc__ or "").strip().split("\n\n")[0].split())
