"""What a person wants to search among: documents by id, from a collection, a table, or a folder of texts or code."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from twofold.data import NAMES, Rows, captions, collections, read
from twofold.data.files import read_text
from twofold.data.rows import is_empty
from twofold.errors import UserError
from twofold.tasks.search.data import unique
from twofold.tasks.search.kept import KeptIndex

_IDS = ("id", "_id", "doc_id", "docid")


def documents(
    source: str | Path | Rows, columns: Mapping[str, str] | None = None, there: KeptIndex | None = None
) -> dict[str, str]:
    """Documents by id, to be added to the index that is `there`, if any.

    A collection's own documents; of captioned pictures, a picture's captions; of a table, the column `document` or else
    `text`, with `id` (`_id` as in BEIR's files, `doc_id`, `docid`), `name` or, equal texts once, the row's number; of a
    folder of texts, a document a file; of Python code, a document a function, its docstring with it.
    Empty documents are left out with a warning.

    Raises:
        UserError: nothing to read, a row without an id among those with one, an id that stands for two different texts,
            or rows without ids whose numbers the index has for others.
    """
    if not isinstance(source, Rows):
        path = Path(source)
        found = collections.find(path)
        alone = collections.is_documents_file(path) or (not columns and collections.is_corpus(path))
        files = found.documents if found is not None else (path,) if alone else ()
        if files:
            kept, notes = collections.read_documents(files)
            return _noted(kept, notes, str(source))
        pictures = captions.find(path, columns)
        if pictures is not None:
            return _noted(pictures.texts(), pictures.notes, str(source))
    rows = source if isinstance(source, Rows) else read(source, columns=columns)
    derived = not isinstance(source, Rows) and _named_here(source, rows)
    whole = derived and "text" in rows.columns and "document" not in (columns or {})
    text = "text" if whole or "document" not in rows.columns else "document"
    (texts,) = rows.require(text if text in rows.columns else "document")
    column = _ids_of(rows, ("name", *_IDS) if derived else (*_IDS, "name"))
    if column is None:
        first: dict[str, int] = {}
        places = [i for i, text in enumerate(texts) if not text.strip() or first.setdefault(text, i) == i]
        given, texts = [str(i) for i in places], [texts[i] for i in places]
    else:
        given = ["" if is_empty(id) else str(id) for id in rows.columns[column]]
    if column is not None and column.casefold() == "_id" and "title" in rows.columns:
        texts = [collections.with_title(*both) for both in zip(rows.columns["title"], texts, strict=True)]
    named = unique(given) if derived else given
    if there is not None and column is None and len(free := there.missing(given)) < len(given):
        raise UserError(
            f"{rows.source} has no column 'id', so its rows are called by their numbers, and {there.where} holds "
            f"{len(given) - len(free)} documents of such names, which they would replace; name a column of ids with "
            "--columns id=YOURS, or build the index again with --fresh"
        )
    kept, notes = collections.merged(zip(named, texts, strict=True), "document", rows.source)
    return _noted(kept, notes, rows.source)


def ids(words: str | Sequence[str]) -> list[str]:
    """Ids as typed with commas between, or the lines of a file of them.

    Raises:
        UserError: none are given, or the file is no text.
    """
    if isinstance(words, str):
        listed = read_text(Path(words)).splitlines() if os.path.isfile(words) else words.split(",")
        words = [id.strip() for id in listed if id.strip()]
    if not words:
        raise UserError("no ids are given; name documents, with commas between, or a file with one a line")
    return list(dict.fromkeys(words))


def _named_here(source: str | Path, rows: Rows) -> bool:
    """Whether ids are names from code or of files, which may come again; those that a person gave may not."""
    ids = rows.columns.get("id")
    return str(source) in NAMES or (Path(source).is_dir() and ids is not None and ids == rows.columns.get("name"))


def _ids_of(rows: Rows, names: Sequence[str]) -> str | None:
    """The column of ids, by the first of the names that there is, in any case."""
    there = {column.casefold(): column for column in reversed(rows.columns)}
    return next((there[name] for name in names if name in there), None)


def _noted(kept: dict[str, str], notes: Sequence[str], source: str) -> dict[str, str]:
    for note in notes:
        warnings.warn(f"{source}: {note}", stacklevel=3)
    return kept
