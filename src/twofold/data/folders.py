"""Folders: of train/validation/test files, of shards of one table, of images by class, of texts, of Python code."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from twofold.data.columns import Table, concatenate, from_records
from twofold.data.dense import read_dense_folder
from twofold.data.files import Unit, format_of, read_file, read_text
from twofold.data.images import class_folders, read_image_folder
from twofold.data.python_source import Row, every_function, parse
from twofold.data.rows import listed
from twofold.data.splits import part_name
from twofold.errors import UserError

TEXT_ENDINGS = frozenset(
    """
    .txt .text .md .markdown .rst .tex .adoc .org .html .htm .xml .srt .vtt
    .py .pyi .js .mjs .jsx .ts .tsx .java .kt .scala .c .h .cc .cpp .hpp .cs .go .rs .rb .php .swift .m .r .jl
    .lua .pl .sh .bash .ps1 .sql .hs .ml .clj .ex .exs .erl .dart .css .yaml .yml .toml .ini .cfg
    """.split()  # noqa: SIM905
)
_ABOUT = {"readme", "license", "licence", "copying", "changelog"}
_NOT_ENTERED = {"__pycache__", "node_modules", "venv", "site-packages"}


def read_folder(folder: Path, unit: Unit = "line", header: bool = True) -> tuple[Table, list[str] | None]:
    """The rows of a folder, and the part of each where the folder says so.

    In this order: images with files that answer for every pixel (see `dense`); sub-folders of images, each named after
    a class; files (or sub-folders, and nothing else) named
    train, validation and test, each read for itself; table files of one format, one below the other; Python files,
    where they are at least half of what can be read, function by function; other texts and code, one document a
    file. Raises UserError where there is
    nothing to read.
    """
    try:
        entries = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror or error}); check its rights") from None
    dense = read_dense_folder(folder)
    if dense is not None:
        return dense
    classes = class_folders(folder)
    if classes:
        return read_image_folder(folder, classes)
    parts = _parts(entries)
    if parts:
        return _read_parts(parts, unit, header)
    paths = [path for path in files_in(folder) if is_text(path)]
    tables = [each for each in entries if each.is_file() and format_of(each) not in (None, "txt")]
    texts = [path for path in paths if not is_about(path)]
    if texts:  # a json file beside code or texts is somebody's settings
        tables = [each for each in tables if format_of(each) != "json"]
    if tables and texts:
        raise UserError(
            f"{folder} holds tables ({listed(each.name for each in tables)}) and texts ({texts[0].name}, …); "
            "name one of the tables, or give a folder with the texts alone"
        )
    if tables:
        return _read_shards(folder, tables, unit, header), None
    if not paths:
        raise UserError(
            f"{folder} holds no file that can be read (found: {listed(each.name for each in entries)}); give a "
            "folder of train/validation/test files, tables (.csv, .jsonl, .parquet, …), texts (.txt, .md, …) or code"
        )
    code = [path for path in paths if path.suffix == ".py"]
    if 2 * len(code) >= len(paths):
        return _functions(folder, code, [path for path in texts if path.suffix != ".py"]), None
    return _documents(folder, paths), None


def _part_of(path: Path) -> str | None:
    """The part in a name: `train.csv`, `dev-00001-of-00002.parquet`, a sub-folder `test`."""
    if path.is_dir():
        return part_name(path.name)
    return part_name(re.split(r"[-_.]", path.name, maxsplit=1)[0]) if format_of(path) else None


def _parts(entries: list[Path]) -> list[tuple[Path, str]]:
    folders = [each for each in entries if each.is_dir() and each.name not in _NOT_ENTERED]
    files = [each for each in entries if each.is_file() and format_of(each)]
    named = [(each, part) for each in files if (part := _part_of(each))]
    if not named and not files:
        named = [(each, part) for each in folders if (part := _part_of(each))]
        if len(named) < len(folders):
            return []
    if "train" not in {part for _, part in named}:
        return []
    formats = {format_of(path) for path, _ in named}
    if len(formats) > 1:
        raise UserError(
            f"{named[0][0].parent} holds its parts in several formats ({listed(path.name for path, _ in named)}); "
            "keep one format"
        )
    rest = [each.name for each in files if each not in dict(named)]
    if rest:
        warnings.warn(f"{named[0][0].parent}: not read, as they name no part: {listed(rest)}", stacklevel=2)
    return named


def _read_parts(parts: list[tuple[Path, str]], unit: Unit, header: bool) -> tuple[Table, list[str]]:
    tables, splits = [], []
    for path, part in parts:
        table = read_folder(path, unit, header)[0] if path.is_dir() else read_file(path, unit, header)
        tables.append(table)
        splits += [part] * len(next(iter(table.values())))
    return concatenate(tables), splits


def _read_shards(folder: Path, paths: list[Path], unit: Unit, header: bool) -> Table:
    formats = sorted({str(format_of(path)) for path in paths})
    if len(formats) > 1:
        raise UserError(f"{folder} holds tables of several formats ({listed(formats)}); name one of the files")
    tables = {path.name: read_file(path, unit, header) for path in paths}
    widest = max(tables, key=lambda name: len(tables[name]))
    for name, table in tables.items():
        if strange := [column for column in table if column not in tables[widest]]:
            raise UserError(
                f"{folder} holds different tables: {name} has the column {strange[0]!r}, {widest} does not; "
                "name one of the files"
            )
    return concatenate(tables.values())


def files_in(folder: Path) -> Iterator[Path]:
    """The files of a folder and its sub-folders, in order; hidden ones and those that hold nobody's data aside."""
    for inside, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if each not in _NOT_ENTERED and not each.startswith("."))
        yield from (Path(inside, name) for name in sorted(files) if not name.startswith("."))


def is_text(path: Path) -> bool:
    """Whether a file is a text or code, by its name."""
    return Path(path.name.removesuffix(".gz")).suffix.casefold() in TEXT_ENDINGS


def is_about(path: Path) -> bool:
    """Whether a file tells of a folder and is none of its texts: a readme, a licence, …"""
    return path.stem.casefold() in _ABOUT


def read_texts(folder: Path, paths: list[Path]) -> list[tuple[str, str]]:
    """(path inside the folder, text) of the files that are text; warns of those that are not."""
    texts, failures = [], []
    for path in paths:
        try:
            texts.append((path.relative_to(folder).as_posix(), read_text(path)))
        except UserError as error:
            failures.append(str(error))
    if not texts:
        raise UserError(f"none of the {len(paths)} files in {folder} can be read; the first: {failures[0]}")
    if failures:
        warnings.warn(
            f"{folder}: {len(failures)} of {len(paths)} files left out; the first: {failures[0]}", stacklevel=2
        )
    return texts


def _documents(folder: Path, paths: list[Path]) -> Table:
    return from_records({"id": name, "text": text, "name": name} for name, text in read_texts(folder, paths))


def _functions(folder: Path, paths: list[Path], others: list[Path]) -> Table:
    records: list[Row] = []
    unread, without = [], []
    for name, text in read_texts(folder, paths):
        module = ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
        tree = parse(text)
        if tree is None:
            unread.append(name)
        elif found := every_function(tree, text, name, module):
            records += found
        else:
            without.append(name)
    beside = [path.relative_to(folder).as_posix() for path in others]
    for names, what in (
        (unread, "Python files left out, this Python cannot parse them"),
        (without, "Python files left out, as no function is in them"),
        (beside, "texts left out, beside the code"),
    ):
        if names:
            warnings.warn(f"{folder}: {len(names)} {what}: {listed(names)}", stacklevel=2)
    if not records:
        raise UserError(
            f"the {len(paths)} Python files in {folder} hold no function; add some, or give the files as .txt to read "
            "each as one document"
        )
    return from_records(records)
