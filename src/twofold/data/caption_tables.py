"""Tables of captions: which files are some, and what they say of which picture.

Csv, tsv, jsonl, json, parquet, and COCO's json. Flickr8k's `captions.txt` is a csv with names; its older
`Flickr8k.token.txt` has none, and counts the captions of a picture behind the picture's name.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from twofold.data.columns import Table
from twofold.data.delimited import read_delimited
from twofold.data.files import format_of, read_file, read_text
from twofold.data.images import is_image

IMAGE = ("image", "file_name", "filename", "file", "path", "image_name")
CAPTION = ("caption", "captions", "text", "description", "comment")
"""What people call the columns of the file and of what is seen on it, likeliest first."""

_SEPARATORS = ",;\t|"
_COCO = ("images", "annotations")
_LOOKED_AT = 1 << 16  # bytes of a file that say which columns it has
_NUMBER = re.compile(r"#\d+$")  # Flickr8k counts a picture's captions behind its name
_KEY = re.compile(r'"([^"\\]+)"\s*:')


def caption_tables(paths: Iterable[Path], columns: Mapping[str, str] | None) -> dict[Path, Table]:
    """Tables of captions, with the columns `image`, `caption` and, if they have it, `split`.

    Where several would do, those that are called captions: COCO has boxes of the same pictures beside them.
    """
    kinds = {path: kind for path in paths if format_of(path) and (kind := _kind(path, columns)) is not None}
    called = {path: kind for path, kind in kinds.items() if "caption" in path.name.casefold()}
    read = {path: _table(path, *kind) for path, kind in (called or kinds).items()}
    return {path: table for path, table in read.items() if any(is_image(Path(file_of(c))) for c in table["image"][:20])}


def _kind(path: Path, columns: Mapping[str, str] | None) -> tuple[str, str] | None:
    """The columns of picture and caption, by the file's beginning; without names "1" and "2"; COCO's own."""
    names = column_names(path)
    if format_of(path) in ("csv", "tsv", "txt") and len(names) > 1 and is_image(Path(file_of(names[0]))):
        return "1", "2"
    if format_of(path) == "json" and {*_COCO} & {*names}:
        return _COCO
    called = {name.casefold(): name for name in reversed(names)}
    chosen = []
    for wanted in (IMAGE, CAPTION):
        given = [columns[name] for name in wanted if columns and name in columns]
        own = [called[name] for name in wanted if name in called]
        chosen.append(next((name for name in given or own if name in names), None))
    image, caption = chosen
    return None if image is None or caption is None else (image, caption)


def column_names(path: Path) -> list[str]:
    """The names that a table's beginning has for its columns."""
    kind = format_of(path)
    if kind == "parquet":
        try:
            from pyarrow import parquet

            return list(parquet.read_schema(path).names)
        except (ImportError, OSError, ValueError):
            return list(read_file(path))  # which says what is wrong
    try:
        with gzip.open(path) if path.name.casefold().endswith(".gz") else path.open("rb") as file:
            head = file.read(_LOOKED_AT).decode("utf-8-sig", "replace")
    except (OSError, EOFError):
        return []
    if kind in ("json", "jsonl"):
        return list(dict.fromkeys(_KEY.findall(head)))
    return [cell.strip(" \"'") for cell in re.split(f"[{_SEPARATORS}]", head.lstrip().partition("\n")[0].strip("\r"))]


def _table(path: Path, image: str, caption: str) -> Table:
    if (image, caption) == _COCO:
        return _coco(path)
    if format_of(path) == "txt" or image == "1":
        table = read_delimited(read_text(path), path, _SEPARATORS, header=image != "1")
    else:
        table = read_file(path)
    kept = {"image": table.get(image, []), "caption": table.get(caption, [])}
    return kept | {name: values for name, values in table.items() if name == "split"}


def _coco(path: Path) -> Table:
    """The captions of COCO's json; none where it is another."""
    try:
        value = json.loads(read_text(path))
        files = {each["id"]: each["file_name"] for each in value["images"]}
        pairs = [(files.get(each["image_id"]), each["caption"]) for each in value["annotations"]]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {"image": [], "caption": []}
    return {"image": [file for file, _ in pairs], "caption": [text for _, text in pairs]}


def file_of(cell: object) -> str:
    """The picture's path in a cell."""
    return _NUMBER.sub("", str(cell).strip()).replace("\\", "/")
