"""Tables with a separator between the fields and their names in the first line: csv, tsv and their kin."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from twofold.data.columns import Table
from twofold.data.rows import shown
from twofold.errors import UserError

_SAMPLE = 1 << 16  # characters looked at to find the separator
_LONGEST_FIELD = 2**31 - 1  # the largest limit that the csv module takes on every system
_END = "\0twofold-end\0"  # appended as a row of its own; swallowed by a quotation mark that is never closed


class _Malformed(Exception):
    """Where (line, from 1) and why a text is not the table it was taken for."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(line, why)
        self.line, self.why = line, why


def read_delimited(text: str, path: Path, delimiters: str, header: bool = True) -> Table:
    """The table in `text`: names in the first row, the likeliest of `delimiters` between the fields.

    Without a `header` the columns are called "1", "2", …

    Quotation marks hold fields together (`"a, b"`, doubled inside). In a file that can only be tab-separated they
    are ordinary characters where reading them as marks does not give a table. A row that is short is filled
    up with empty fields; a long one, a name used twice or a quotation mark never closed raise UserError.
    """
    delimiter = _sniff(text, delimiters)
    try:
        try:
            return _table(text, delimiter, header, quoted=True, strict=delimiters == "\t")
        except _Malformed:
            if delimiters != "\t":
                raise
            return _table(text, delimiter, header, quoted=False, strict=False)
    except _Malformed as problem:
        raise UserError(f"{path}, line {problem.line}: {problem.why}") from None


def _sniff(text: str, delimiters: str) -> str:
    """The separator that cuts the first rows into the same number (above 1) of fields most often; else the first."""
    sample = text[:_SAMPLE]
    best, best_score = delimiters[0], (0.0, 0)
    for delimiter in delimiters:
        rows: list[list[str]] = []
        with contextlib.suppress(_Malformed):
            rows += (row for _, row in _records(sample, delimiter, quoted=True, strict=False, whole=False))
        widths = Counter(len(row) for row in rows[: max(1, len(rows) - 1)])  # the sample may cut the last one
        width = len(rows[0]) if rows else 0
        score = (widths[width] / max(1, widths.total()), width)
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    return best


def _table(text: str, delimiter: str, header: bool, *, quoted: bool, strict: bool) -> Table:
    rows = list(_records(text, delimiter, quoted=quoted, strict=strict))
    if not rows:
        return {}
    (line, first), body = rows[0], rows[header:]
    names = [(name.strip() or f"column {n}") if header else str(n) for n, name in enumerate(first, 1)]
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise _Malformed(line, f"column {shown(twice)!r} stands twice in the first line; rename one of them")
    for line, row in body:
        if len(row) > len(names):
            raise _Malformed(
                line,
                f"{len(row)} fields where the first line names {len(names)}; put quotation marks around fields "
                f"that contain {delimiter!r}",
            )
        row.extend([""] * (len(names) - len(row)))
    return {name: [row[index] for _, row in body] for index, name in enumerate(names)}


def _records(
    text: str, delimiter: str, *, quoted: bool, strict: bool, whole: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """(line it begins in, fields) of every row that is not blank; `whole`: the text's end must end a row."""
    ended = text + ("" if text.endswith(("\n", "\r")) else "\n") + (_END + "\n" if whole else "")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(ended, newline=""), delimiter=delimiter, quoting=quoting, strict=strict)
    begin = 1
    with _long_fields():
        try:
            for row in reader:
                if row == [_END]:
                    return
                if whole and row and _END in row[-1]:
                    raise _Malformed(
                        begin, "a quotation mark opens in this row and is never closed; close or double it"
                    )
                if any(map(str.strip, row)):
                    yield begin, row
                begin = reader.line_num + 1
        except csv.Error as error:
            raise _Malformed(begin, f"not a table ({error}); mend that row") from None


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let the csv module read fields of any length; its own limit is 128 kB."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
