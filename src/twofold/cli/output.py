"""What commands print: tables for a person, JSON for a program. Loads nothing heavy."""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

_STYLES = {"bold": "1", "dim": "2", "green": "32", "yellow": "33", "red": "31"}


def as_json(data: Any) -> None:
    """Prints data as JSON: one line for a program, indented in a terminal."""
    print(json_text(data, indent=1 if sys.stdout.isatty() else None))


def json_text(data: Any, indent: int | None = 1) -> str:
    """Data as JSON; NaN and infinities, which JSON does not have, as null."""
    return json.dumps(_plain(data), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {str(k): _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(v) for v in data]
    if isinstance(data, float):
        return data if data - data == 0 else None
    if data is None or isinstance(data, str | int | bool):
        return data
    if hasattr(data, "tolist"):
        return _plain(data.tolist())
    return str(data)


def figure(value: float) -> str:
    """Four digits, and every digit of what is before the point: `0.3047`, `8.611`, `39,870`."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e12 else f"{value:.4g}"


def style(text: str, name: str) -> str:
    """Text in a style where standard output is a terminal that wants it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"


def shown(text: str) -> str:
    """A text that came from elsewhere, without the control codes that a terminal would obey."""
    if not sys.stdout.isatty():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def width() -> int | None:
    """Characters of a line; None where nothing needs to be cut, as in a file."""
    if not sys.stdout.isatty():
        return None
    try:
        return max(40, os.get_terminal_size(sys.stdout.fileno()).columns)
    except OSError:
        return None


def table(rows: Sequence[Sequence[str]], titles: Sequence[str] | None = None, indent: str = "  ") -> None:
    """Prints columns side by side; the last one goes on in the next line where the terminal is narrow."""
    every = [*([titles] if titles else []), *rows]
    if not every:
        return
    wide = [max(len(row[i]) for row in every) for i in range(len(every[0]) - 1)]
    start = len(indent) + sum(wide) + 2 * len(wide)
    whole = width()
    room = None if whole is None else max(24, whole - start)
    for number, row in enumerate(every):
        first = "".join(cell.ljust(w + 2) for cell, w in zip(row, wide, strict=False))
        for line, piece in enumerate(_folded(row[-1], room)):
            text = (indent + first if line == 0 else " " * start) + piece
            print(style(text.rstrip(), "dim") if titles and number == 0 else text.rstrip())


def _folded(text: str, room: int | None) -> Iterator[str]:
    """Lines of at most `room` characters, broken at spaces."""
    while room is not None and len(text) > room:
        cut = text.rfind(" ", 1, room + 1)
        cut = cut if cut > 0 else room
        yield text[:cut]
        text = text[cut:].lstrip()
    yield text
