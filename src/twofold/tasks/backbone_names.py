"""The names that backbones have: what there is, what a misspelt one may have meant, and how one becomes an arm."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import torch

from twofold import catalog
from twofold.catalog import index
from twofold.errors import UserError
from twofold.parts import Mixer, Pattern
from twofold.parts.named import names

SIZED = re.compile(r"([a-z0-9-]+)-(\d+)x(\d+)")
"""A name with its size, layers × width: `ssd-2x64`."""

_PREDICTS = "ssd-4x128"
_CAUSAL = ("language", "solve")
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
        if card.get("family") == "mixers" and {"dim", "layers", "conv"} <= set(card["options"])
    }


def layered() -> tuple[str, ...]:
    """Mixers and systems: what a stack of layers can be made of by name."""
    return tuple(dict.fromkeys((*names(Mixer), *systems())))


def described() -> list[dict[str, str]]:
    """Mixers and systems, each with `id`, `kind` and `summary`."""
    found = [("mixer", name, first_line(kind)) for name, kind in names(Mixer).items()]
    found += [("system", name, summary) for name, summary in systems().items() if name not in names(Mixer)]
    return [{"id": id, "kind": kind, "summary": summary} for kind, id, summary in found]


def unknown_backbone(name: Any, known: Iterable[str], wanted: str) -> UserError:
    """The error for a name that is no backbone: the nearest of those that would be, with the size that was typed.

    Args:
        wanted: what can be named in this place, as the end of "give …".
    """
    text = str(name)
    bare = _parts(text)[0]
    size = text.removeprefix(bare)
    near = difflib.get_close_matches(bare, dict.fromkeys(known), n=3, cutoff=0.6)
    meant = f" Did you mean {' or '.join(repr(each + size) for each in near)}?" if near else ""
    return UserError(f"unknown backbone {text!r}.{meant} Give {wanted}; all names: twofold list --backbones")


def as_arm(name: str, task: str) -> str | None:
    """How a backbone stands in a comparison: `backbone(backbone=ssd-4x128)`; None: it is none for the task."""
    bare, layers, dim = _parts(name)
    if task not in _CARRIERS or bare not in layered():
        return None
    try:
        with torch.device("meta"):
            pattern(bare, dim, layers).network(260, causal=task in _CAUSAL or None, max_len=512, head=False)
    except UserError:
        return None
    system, option = _CARRIERS[task]
    return f"{system}({option}={bare}-{layers}x{dim})"


def fix(name: str, task: str) -> str:
    """What to do about an arm that does not serve a task."""
    written = as_arm(name, task)
    if written is not None:
        return f'as a backbone it is written --systems "{written}"'
    if name in layered() and task in _CAUSAL:
        return f'it looks ahead; name one that does not, such as --systems "{as_arm(_PREDICTS, task)}"'
    return "leave it out of --systems"


def pattern(
    name: str, dim: int, layers: int, *, heads: int | None = None, conv: int = 0, max_len: int = 512
) -> Pattern:
    """The layers that a mixer's or a system's name stands for; as `backbones.pattern`, for names alone.

    Raises:
        UserError: no such name; names the nearest.
    """
    bare, layers, dim = _parts(name, layers, dim)
    if bare in names(Mixer):
        return Pattern.read([{"mixer": bare, "times": layers}], dim=dim, heads=heads, conv=conv)
    if bare in systems():
        heads = heads or max(1, dim // 32)
        system: Any = catalog.configure(bare, dim=dim, layers=layers, heads=heads, conv=conv, length=max_len)
        found: Pattern = system.pattern()
        return found
    raise unknown_backbone(name, layered(), "a mixer or a system with layers x width, such as ssd-2x128")


def _parts(name: str, layers: int = 4, dim: int = 128) -> tuple[str, int, int]:
    """`ssd-2x64` as its name, layers and width; the others where it does not say."""
    sized = SIZED.fullmatch(name)
    return (sized[1], int(sized[2]), int(sized[3])) if sized else (name, layers, dim)


def first_line(thing: object) -> str:
    """What a part or a preset is, in the words of its docstring."""
    return (thing.__doc__ or "").strip().splitlines()[0]
