"""From the table that a file holds to the columns that a task asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twofold.data.rows import is_empty, listed, shown
from twofold.errors import UserError, did_you_mean

Table = dict[str, list[Any]]

# Columns that hold what a model reads. Rows in which one of them is empty are of no use to any task.
TEXT_COLUMNS = ("query", "document", "text")


def from_records(records: Iterable[Mapping[str, Any]]) -> Table:
    """Columns from dictionaries, in the order in which their keys are first seen; None where a key is missing."""
    rows = list(records)
    names = dict.fromkeys(str(key) for row in rows for key in row)
    return {name: [row.get(name) for row in rows] for name in names}


def concatenate(tables: Iterable[Table]) -> Table:
    """Tables one below the other; None where a table lacks a column that another has."""
    every = [(table, len(next(iter(table.values()), ()))) for table in tables]
    names = dict.fromkeys(name for table, _ in every for name in table)
    return {name: [value for table, length in every for value in table.get(name, [None] * length)] for name in names}


def rename(table: Table, columns: Mapping[str, str] | None, source: str) -> Table:
    """`table` with columns renamed all at once, `columns` being wanted name → name in the file.

    A column that stood under a wanted name gives way. Raises UserError for a name that the file does not have.
    """
    if not columns:
        return table
    for wanted, given in columns.items():
        if given not in table:
            raise UserError(
                f"{source} has no column {given!r} to use as {wanted!r}."
                f"{did_you_mean(given, table)} Found: {listed(table)}"
            )
    taken = set(columns.values())
    kept = {name: values for name, values in table.items() if name not in taken and name not in columns}
    return {wanted: table[given] for wanted, given in columns.items()} | kept


def clean(table: Table, source: str) -> Table:
    """`table` with texts that are texts: numbers written out in text columns, half characters replaced everywhere.

    Raises UserError where a text column holds something that is neither a text nor a number.
    """
    return {
        name: [
            _text(value, name, index, source)
            if name in TEXT_COLUMNS
            else _whole(value)
            if isinstance(value, str)
            else value
            for index, value in enumerate(values)
        ]
        for name, values in table.items()
    }


def _text(value: Any, name: str, index: int, source: str) -> str | None:
    if isinstance(value, str):
        return _whole(value)
    if is_empty(value):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f"{source}: column {name!r} holds {_kind(value)} in row {index + 1} ({shown(value)}), a text is needed; "
        "give that column as text, or another one with --columns " + f"{name}=OTHER"
    )


def _whole(text: str) -> str:
    """`text` with unpaired surrogates, which JSON can hold and UTF-8 cannot, as replacement characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _kind(value: Any) -> str:
    kinds = {"list": "a list", "dict": "an object", "bool": "a truth value", "bytes": "bytes"}
    name = type(value).__name__
    return kinds.get(name, f"a value of type {name}")
