"""Readers for one file each: csv, tsv, jsonl, json, parquet and txt, the text ones gzipped or not.

Every reader gives a table (column name → values) or raises a UserError of one line that names the file, the
place in it and the fix.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from twofold.data.columns import Table, from_records
from twofold.data.delimited import read_delimited
from twofold.errors import UserError, did_you_mean

Unit = Literal["line", "paragraph", "file"]
UNITS: tuple[Unit, ...] = ("line", "paragraph", "file")


def read_file(path: Path, unit: Unit = "line", header: bool = True) -> Table:
    """The table in one file, read by its name's ending.

    Args:
        unit: what one row of a txt file is.
        header: whether the first row of csv and tsv files names the columns.
    """
    kind = format_of(path)
    if kind is None:
        raise UserError(
            f"{path} is of no kind that can be read{_ending(path)}; "
            "use .csv, .tsv, .jsonl, .json, .parquet or .txt (all but parquet also with .gz)"
        )
    if kind == "parquet":
        table = _parquet(path)
    elif kind == "txt":
        table = {"text": _units(read_text(path), unit)}
    elif kind in _DELIMITERS:
        table = read_delimited(read_text(path), path, _DELIMITERS[kind], header)
    else:
        table = _READERS[kind](read_text(path), path)
    if not table or not any(len(values) for values in table.values()):
        raise UserError(f"{path} holds no rows; add some, or give another file")
    return table


def format_of(path: Path) -> str | None:
    """ "csv", "tsv", "jsonl", "json", "parquet" or "txt" by the name's ending (`.gz` aside); None for others."""
    name = path.name.casefold().removesuffix(".gz")
    kind = {"ndjson": "jsonl", "tab": "tsv", "text": "txt"}.get(ending := name.rpartition(".")[2], ending)
    if "." not in name or (kind == "parquet" and path.name.casefold().endswith(".gz")):
        return None
    return kind if kind in FORMATS else None


def read_bytes(path: Path) -> bytes:
    """A file's content, unpacked where its name ends in `.gz`."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.name.casefold().endswith(".gz") else data
    except FileNotFoundError:
        raise missing(path) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}); pack or fetch it again") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the path and its rights") from None


_SAMPLE = 1 << 16
_NO_TEXT = {
    b"PK\x03\x04": "a zip archive (as spreadsheets are: save the sheet as csv)",
    b"\x1f\x8b": "packed by gzip (let its name end in .gz)",
    b"%PDF": "a PDF",
    b"PAR1": "a parquet file (let its name end in .parquet)",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}


def read_text(path: Path) -> str:
    """A file's text. Raises UserError where it is missing, empty, no text or not UTF-8 (with the line and byte)."""
    data = read_bytes(path)
    if not data.strip():
        raise UserError(f"{path} is empty; give a file with data in it")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{path} is not UTF-8 but UTF-16; re-encode it: {_iconv(path, 'UTF-16')}")
    kind = next((kind for start, kind in _NO_TEXT.items() if data.startswith(start)), None)
    if kind is not None:
        raise _no_text(path, kind)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        data = error.object  # without the mark that may open the file
        if b"\0" in data[:_SAMPLE]:
            raise _no_text(path, "binary data") from None
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UserError(
            f"{path} is not UTF-8: line {line}, byte {column} is 0x{data[error.start]:02X}; "
            f"re-encode it: {_iconv(path, 'LATIN1')}"
        ) from None


def _no_text(path: Path, kind: str) -> UserError:
    return UserError(f"{path} is {kind}, not text; give a file of text, such as csv or jsonl")


def missing(path: Path) -> UserError:
    """The error for a path that is not there, with the nearest name that is."""
    folder = path.parent
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    near = did_you_mean(path.name, names)
    return UserError(f"there is no file or folder {path}; check the path" + (near and f".{near}"))


def _iconv(path: Path, encoding: str) -> str:
    name = path.name.removesuffix(".gz")
    return f"iconv -f {encoding} -t UTF-8 {name} > utf8-{name}"


def _ending(path: Path) -> str:
    return f" ({path.suffix!r} is unknown)" if path.suffix else " (its name has no ending)"


def _units(text: str, unit: Unit) -> list[str]:
    if unit == "file":
        return [text]
    pieces = re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if unit == "paragraph" else text.split("\n")
    return [piece.strip("\r\n") for piece in pieces if piece.strip()]


def _jsonl(text: str, path: Path) -> Table:
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        record = _json_value(line, path, line=number)
        if not isinstance(record, dict):
            raise UserError(
                f'{path}, line {number}: {_json_kind(record)} where an object is needed; write {{"text": …}}'
            )
        records.append(record)
    return from_records(records)


def _json(text: str, path: Path) -> Table:
    first = text.strip().split("\n", 1)
    if len(first) == 2 and first[0].strip().startswith("{") and first[0].strip().endswith("}"):
        return _jsonl(text, path)  # one object a line: the name says json, the file is jsonl
    value = _json_value(text, path)
    if not isinstance(value, list):
        raise UserError(f"{path} holds {_json_kind(value)}; a list of objects is needed: [{{…}}, {{…}}]")
    for index, record in enumerate(value):
        if not isinstance(record, dict):
            raise UserError(f"{path}: item {index + 1} is {_json_kind(record)}; a list of objects is needed")
    return from_records(value)


def _json_value(text: str, path: Path, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno}, column {error.colno}"
        raise UserError(f"{path}, {place}: not JSON ({error.msg}); mend or remove that line") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting without end
        place = f"line {line}" if line else "somewhere"
        raise UserError(f"{path}, {place}: JSON that cannot be read ({str(error)[:80]}); mend that value") from None


def _json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


def _parquet(path: Path) -> Table:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"reading {path} needs pyarrow; pip install 'twofold[parquet]'") from None
    data = read_bytes(path)
    if not data:
        raise UserError(f"{path} is empty; give a file with data in it")
    try:
        return parquet.read_table(arrow.BufferReader(data)).to_pydict()
    except (arrow.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is not a whole parquet file ({reason}); write or fetch it again") from None


_DELIMITERS = {"csv": ",;\t|", "tsv": "\t"}
_READERS: dict[str, Callable[[str, Path], Table]] = {
    "jsonl": _jsonl,
    "json": _json,
}
FORMATS = (*_DELIMITERS, *_READERS, "parquet", "txt")
