"""What there is to say about a name that a backbone can have: its blocks, their costs, and commands that use it."""

from __future__ import annotations

from typing import Any

import yaml

from twofold import catalog
from twofold.errors import UserError
from twofold.measure.sketch import sketch
from twofold.parts import Mixer, Pattern
from twofold.parts.named import names
from twofold.tasks import backbone_names, backbones
from twofold.tasks.backbone_names import SIZED, entries, layered, objectives, parts, uses

_ASIDE = {"cross-attention": "byt5"}
"""Mixers that no single stack can hold, with the system that has them."""


def card(name: str) -> dict[str, Any] | None:
    """A mixer, also with a size behind it, a system or a preset with its size, a reference model or a checkpoint.

    Returns:
        `id`, `kind` (part), `summary`, `network` (as `measure.sketch`; None: there is nothing to draw), `note` (what a
        person must know, or empty) and `use` (commands); None for any other name.

    Raises:
        UserError: a size that the mixer cannot have.
    """
    if SIZED.fullmatch(name) is None and name in backbones.PRESETS:
        name += "-4x128"
    bare, layers, dim = parts(name)
    kinds = {each["id"]: each for each in backbones.every()}
    found = {"id": name, "kind": "part", "summary": kinds.get(bare, {}).get("summary", ""), "note": ""}
    if bare in _ASIDE and name != bare:
        raise UserError(f"{bare} stands in an encoder-decoder and takes no size; see: twofold show {bare}")
    if name in _ASIDE:
        holder = _ASIDE[name]
        system: Any = catalog.configure(holder)
        return found | {
            "summary": backbone_names.first_line(names(Mixer)[name]),
            "network": sketch(system.outline)
            | {"positions": "none of its own: every token sees all of the other stack"},
            "note": f"it reads another stack's states, so it stands in an encoder-decoder: drawn is {holder}'s",
            "use": [f"twofold fit {holder} my.jsonl -o model/"],
        }
    if bare in layered():
        return found | _drawn(bare, layers, dim)
    if (sized := SIZED.fullmatch(name)) and bare in backbones.PRESETS:
        make, learns = backbones.PRESETS[sized[1]], ["hidden tokens", "search and classification"]
        network = sketch(lambda length: make(260, dim, layers, length), learns)
        return found | {"network": network, "use": uses(name, learns[1:])}
    if kinds.get(name, {}).get("kind") in ("reference", "checkpoint"):
        return found | {"network": None, "use": [f"twofold fit gtr my.jsonl --set backbone={name} -o model/"]}
    return None


def _drawn(bare: str, layers: int, dim: int) -> dict[str, Any]:
    """The blocks that a name stands for, and how a pattern writes them where the name alone says too little."""
    whole = f"{bare}-{layers}x{dim}"
    learns = objectives(backbone_names.pattern(whole, dim, layers))

    def made(length: int) -> Any:
        found: Pattern = backbone_names.pattern(bare, dim, layers, max_len=length)
        return found.network(260, max_len=length)

    found = {"network": sketch(made, learns), "use": uses(whole, learns), "note": ""}
    if bare in names(Mixer) and (written := entries(bare, dim, layers)) != [{"mixer": bare, "times": layers}]:
        data = yaml.safe_dump(written, default_flow_style=True, sort_keys=False, width=10_000).strip()
        found["note"] = f"the name stands for these layers, whose sizes are yours to change: {data}"
        found["use"] = [*uses(whole, learns), uses(f"'{data}'", learns)[0]]
    return found
