"""Writes the index: `python -m twofold.catalog.build` (`--check` compares instead). Imports every system."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from typing import Any

from twofold.catalog import index, register
from twofold.errors import UserError


def build() -> dict[str, str]:
    """{family: JSON text} of every system in the package, with option schema, claim and recorded verdict."""
    from pydantic import TypeAdapter

    package = importlib.import_module("twofold.systems")
    families: dict[str, list[dict[str, Any]]] = {}
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.ispkg:
            importlib.import_module(found.name)
    for id, cls in sorted(register._registered.classes.items()):
        card: Any = cls.card  # type: ignore[attr-defined]
        if card.family == "own":
            continue
        claim = getattr(cls, "claim", None)
        schema = TypeAdapter(cls).json_schema()
        entry = {**card.as_dict(), "module": cls.__module__, "options": schema.get("properties", {})}
        if claim is not None:
            entry["claim"] = claim.as_dict()
            entry["verdict"] = _verdict(id)
        drawn = cls.sketch() if hasattr(cls, "sketch") else None
        if drawn is not None:
            entry["network"] = drawn
        if namesake := cls.namesake() if hasattr(cls, "namesake") else []:
            entry["namesake"] = namesake
        families.setdefault(card.family, []).append(entry)
    return {name: json.dumps(cards, indent=1, ensure_ascii=False) + "\n" for name, cards in families.items()}


def _verdict(id: str) -> str:
    file = index.FOLDER.parent.parent / "records" / f"{id}.json"
    return json.loads(file.read_text(encoding="utf-8"))["verdict"] if file.exists() else "not shown yet"


def main(arguments: list[str]) -> int:
    built = build()
    if "--check" in arguments:
        current = {f.stem: f.read_text(encoding="utf-8") for f in index.FOLDER.glob("*.json")}
        stale = sorted(f for f in {*built, *current} if built.get(f) != current.get(f))
        if stale:
            raise UserError(f"the index of {', '.join(stale)} is stale; run make index")
        return 0
    for file in index.FOLDER.glob("*.json"):
        if file.stem not in built:
            file.unlink()
    for family, text in built.items():
        (index.FOLDER / f"{family}.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(str(error))
