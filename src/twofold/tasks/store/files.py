"""Packing files where they are, without opening them as a model: one file, or a folder of checkpoints."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twofold import progress
from twofold.checkpoints.packed import Packing
from twofold.checkpoints.replace import replacing
from twofold.errors import UserError

Convert = Callable[[Path, Path, Path | None, Path | None], Packing]
"""Source, target, the file that a base is read from, and where the reader will find it."""

FIRST = "first"


def convert(
    source: Path,
    target: Path,
    endings: tuple[str, str],
    change: Convert,
    base: str | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Converts a file, or every file of that ending in a folder and below; other files are copied.

    Args:
        source: a file, or a folder.
        target: a file or a folder, as the source.
        endings: of the files that are read, and of those that are written.
        change: converts one.
        base: a file that the others are stored as the difference to; `first`: the first of the folder, in the order of
            their names (numbers by their size).
        fresh: replace a file that is there.

    Raises:
        UserError: nothing to convert, names that do not fit, or `target` is taken.
    """
    given = Path(base) if base not in (None, FIRST) else None
    if given is not None and not given.is_file():
        raise UserError(f"there is no file {given} to use as base; give a safetensors or .tfz file, or base=first")
    if source.is_dir():
        return _folder(source, target, endings, change, given, base == FIRST)
    if base == FIRST:
        raise UserError(f"base=first takes the first file of a folder, and {source} is a file; name the base file")
    if source.suffix != endings[0]:
        raise UserError(f"{source} should end in {endings[0]} to become {endings[1]}{_hint(source, endings)}")
    if target.suffix != endings[1]:
        raise UserError(f"what comes of {source.name} is a {endings[1]} file; name it: -o {source.stem}{endings[1]}")
    if target.exists() and not fresh:
        raise UserError(f"{target} is there already; give another name with -o, or replace it with --fresh")
    return _report([(source.name, change(source, target, given, given))])


def _folder(
    source: Path, target: Path, endings: tuple[str, str], change: Convert, base: Path | None, first: bool
) -> dict[str, Any]:
    inside = sorted((p for p in source.rglob("*") if p.is_file()), key=lambda p: _natural(p.relative_to(source)))
    found = [p for p in inside if p.suffix == endings[0]]
    if not found:
        other = next((p for p in inside if p.suffix == endings[1]), source)
        raise UserError(f"{source} holds no {endings[0]} file{_hint(other, endings)}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} is there already; give another folder with -o")
    if target.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{target} is inside {source}; give a folder outside with -o")
    results = []
    with replacing(target) as new, progress.stage("files", total=len(found)) as stage:
        for file in inside:
            place = new / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if file not in found:
                shutil.copy2(file, place)
                continue
            place = place.with_suffix(endings[1])
            if first and file != found[0]:
                at = (new / found[0].relative_to(source)).with_suffix(endings[1])
                results.append((str(file.relative_to(source)), change(file, place, found[0], at)))
            else:
                results.append((str(file.relative_to(source)), change(file, place, base, base)))
            stage.advance(note=file.name)
    return _report(results)


def _report(results: Sequence[tuple[str, Packing]]) -> dict[str, Any]:
    raw, coded = (sum(getattr(p, key) for _, p in results) for key in ("raw", "coded"))
    report: dict[str, Any] = {"files": len(results), "raw": raw, "coded": coded, "size": round(coded / max(1, raw), 4)}
    if len(results) > 1:
        report["each"] = [
            {"file": name, "raw": p.raw, "coded": p.coded, "size": round(p.coded / max(1, p.raw), 4)}
            for name, p in results
        ]
    planes = merged([p for _, p in results])
    return report | ({"planes": planes} if planes else {})


def merged(results: Sequence[Packing]) -> list[dict[str, Any]]:
    """The planes of several files, those of the same layout together."""
    keys = ("bytes a number", "rotated", "plane")
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for packing in results:
        for row in packing.planes:
            known = rows.setdefault(tuple(row[k] for k in keys), {k: row[k] for k in keys})
            for key, value in row.items():
                if key not in keys:
                    known[key] = known.get(key, 0) + value
    return list(rows.values())


def _hint(file: Path, endings: tuple[str, str]) -> str:
    if file.suffix != endings[1]:
        return ""
    return (
        "; it is packed already, unpack it with --set unpack=true"
        if endings[0] == ".safetensors"
        else ("; it is not packed, leave unpack out to pack it")
    )


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """`step-50` before `step-100`."""
    pieces = re.split(r"(\d+)", path.as_posix())
    return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in pieces]
