"""Tables as text: aligned, coloured only on a terminal, folded rather than cut where the terminal is narrow."""

from __future__ import annotations

import io
import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from twofold.measure.reports.numbers import MISSING, significant

_GAP = 2
_NARROWEST = 16  # characters that a column of words keeps


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        title: its heading; a line break makes it two lines high.
        align: "left" for words, "right" for figures.
        key: whether it names the row: repeated in every piece when the table is folded.
        widest: characters after which its text goes on in the next line; None: never.
    """

    title: str
    align: str = "right"
    key: bool = False
    widest: int | None = None


def table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[Any]],
    *,
    styles: Sequence[str] = (),
    title: str | None = None,
    width: int | None = None,
) -> RenderableType:
    """A table that fits into `width` with nothing cut: where the columns do not fit side by side, the table is
    folded into pieces, each of which repeats the key columns.

    Args:
        columns: columns, or just their titles: then the first is the key, and what holds only figures is aligned
            to the right.
        rows: cells as text or numbers; None is shown as "–".
        styles: rich's style of every row, such as "bold" or "dim"; "" for none.
        title: a line above.
        width: characters; None: as wide as the terminal.
    """
    width = width or terminal_width()
    cells = [[_cell(c) for c in row] for row in rows]
    shaped = [c if isinstance(c, Column) else _guess(c, i, cells) for i, c in enumerate(columns)]
    pieces: list[RenderableType] = []
    for number, chosen in enumerate(_pieces(shaped, cells, width)):
        piece = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_edge=False, header_style="dim")
        for place, wide in chosen:
            column = shaped[place]
            piece.add_column(
                Text(plain(column.title, lines=True)),
                justify="right" if column.align == "right" else "left",
                width=wide,
                no_wrap=column.widest is None,
                overflow="fold",
            )
        for row, line in enumerate(cells):
            piece.add_row(*(Text(line[p]) for p, _ in chosen), style=styles[row] if row < len(styles) else None)
        if number:
            pieces.append(Text(""))
        pieces.append(piece)
    heading: list[RenderableType] = [Text(plain(title), style="bold")] if title else []
    return Group(*heading, *pieces)


def text(renderable: RenderableType, width: int | None = None, color: bool | None = None) -> str:
    """What `renderable` looks like, as text without spaces at the ends of lines.

    Args:
        renderable: of `table` or rich.
        width: characters; None: as wide as the terminal.
        color: with control codes for colour; None: when standard output is a terminal and NO_COLOR is not set.
    """
    if color is None:
        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    out = io.StringIO()
    console = Console(
        file=out,
        width=width or terminal_width(),
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def terminal_width() -> int:
    """Characters of a line; 100 where there is no terminal."""
    return shutil.get_terminal_size(fallback=(100, 24)).columns


def plain(value: object, lines: bool = False) -> str:
    """Somebody else's text made safe for a terminal: no control codes, one line unless `lines`."""
    kept = "".join(c if not unicodedata.category(c).startswith("C") or c == "\n" else " " for c in str(value))
    if lines:
        return "\n".join(" ".join(line.split()) for line in kept.split("\n"))
    return " ".join(kept.split())


def _cell(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return significant(value)
    return plain(value)


def _guess(title: str, place: int, cells: list[list[str]]) -> Column:
    figures = all(row[place][:1] in "0123456789+−-–.×" for row in cells)
    return Column(title, "right" if figures and place else "left", key=place == 0, widest=None if figures else 48)


def _pieces(columns: Sequence[Column], cells: list[list[str]], width: int) -> Iterator[list[tuple[int, int]]]:
    """Which columns stand side by side, and how wide each is: `[(column, width)]` for every piece."""
    wide = [_natural(column, [row[i] for row in cells]) for i, column in enumerate(columns)]
    # Words give way before the table is folded: they may go on in the next line.
    words = [i for i, column in enumerate(columns) if column.widest is not None and wide[i] > _NARROWEST]
    while words and (excess := sum(wide) + _GAP * (len(wide) - 1) - width) > 0:
        longest = max(words, key=lambda i: wide[i])
        wide[longest] -= min(excess, wide[longest] - _NARROWEST)
        words = [i for i in words if wide[i] > _NARROWEST]
    keys = [i for i, column in enumerate(columns) if column.key]
    taken = sum(wide[i] + _GAP for i in keys)
    piece: list[int] = []
    used = taken
    for i in (i for i in range(len(columns)) if i not in keys):
        if piece and used + wide[i] > width:
            yield [(k, wide[k]) for k in sorted([*keys, *piece])]
            piece, used = [], taken
        piece.append(i)
        used += wide[i] + _GAP
    yield [(k, wide[k]) for k in sorted([*keys, *piece])]


def _natural(column: Column, cells: list[str]) -> int:
    heading = max((cell_len(line) for line in column.title.split("\n")), default=0)
    widest = max((cell_len(cell) for cell in cells), default=0)
    if column.widest is not None:
        widest = min(widest, column.widest)
    return max(heading, widest, 1)
