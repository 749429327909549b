"""Data sets to search code with code: how code reads that does the same, under other names and in other words.

Training rows are those of `pycode`, a docstring's sentence and its function; in validation and test the query is a
function and the document that function changed. So what is measured was not trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from twofold.data import python_names, python_rewrites, splits, standard_library
from twofold.data.cache import cached_json, digest
from twofold.data.python_rewrites import skeleton, with_other_names, with_other_statements
from twofold.data.rows import Rows

MOST = 1000  # test functions


def renamed_code() -> Rows:
    """`pycode:renamed`: find a function by the same one with all its own names exchanged."""
    return _pairs("pycode:renamed", "with every name exchanged", with_other_names)


def rewritten_code() -> Rows:
    """`pycode:rewritten`: find a function by the same one with other names, order of keyword arguments, and loops."""
    return _pairs(
        "pycode:rewritten", "rewritten", lambda code, seed: with_other_statements(with_other_names(code, seed))
    )


def distinct(rows: Rows) -> Rows:
    """Rows of code whose documents differ in more than names, layout and comments; of near-duplicates the first."""
    seen: dict[str, int] = {}
    for index, code in enumerate(rows.columns["document"]):
        seen.setdefault(skeleton(code), index)
    return rows.take(seen.values())


def _pairs(name: str, how: str, change: Callable[[str, int], str]) -> Rows:
    rows = standard_library.pycode()
    code = [Path(module.__file__ or "").read_bytes() for module in (python_names, python_rewrites, splits)]
    key = f"{rows.fingerprint}-{digest(Path(__file__).read_bytes(), *code)[:16]}"
    made = cached_json(name.replace(":", "-"), key, lambda: _made(rows, change))
    columns = {column: [row[column] for row in made] for column in made[0]}
    parts = columns.pop("split")
    prefix = rows.fingerprint.rpartition("-")[0]
    return Rows.of(columns, name=name, source=f"{rows.source}, {how}", splits=parts, prefix=prefix)


def _made(rows: Rows, change: Callable[[str, int], str]) -> list[dict[str, str]]:
    rows = splits.split(distinct(rows), splits.FOR_SEARCH)
    assert rows.splits is not None
    found = [
        {**{column: values[index] for column, values in rows.columns.items()}, "split": part}
        for index, part in enumerate(rows.splits)
    ]
    test = sorted(
        (row for row in found if row["split"] == "test"), key=lambda row: hashlib.sha256(row["id"].encode()).digest()
    )
    left_out = {row["id"] for row in test[MOST:]}
    for row in found:
        if row["split"] != "train":
            seed = int(digest(row["id"])[:8], 16)
            row |= {"query": row["document"], "document": change(row["document"], seed)}
    return [row for row in found if row["id"] not in left_out]
