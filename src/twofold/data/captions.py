"""Pictures with captions: which picture has which, by a table, by texts beside them, or by COCO's annotations.

    photos/dog.jpg   photos/captions.csv: image,caption    (or file_name, path, … and text, description, …)
    photos/dog.jpg   photos/dog.txt: one caption a line
    coco/val2017/…   coco/annotations/captions_val2017.json

Of a picture's file only the beginning is looked at: whether it is one. Hodosh et al. 2013 (Flickr8k),
https://doi.org/10.1613/jair.3994; Chen et al. 2015 (COCO captions), https://arxiv.org/abs/1504.00325
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold import progress
from twofold.data.caption_tables import caption_tables, column_names, file_of
from twofold.data.columns import Table
from twofold.data.files import format_of
from twofold.data.folders import files_in, is_about, is_text, read_texts
from twofold.data.images import is_image, opened
from twofold.data.rows import PARTS, Rows, is_empty, listed
from twofold.data.splits import part_name, place
from twofold.errors import UserError


@dataclass(frozen=True)
class Pictures:
    """Pictures by their paths inside a folder.

    Args:
        name, source: of the data set.
        captions: of each picture, at least one; no two alike.
        parts: what a column `split`, or folders named train, validation and test, say of pictures.
        notes: what was left out, for a person to know.
    """

    name: str
    source: str
    captions: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def texts(self) -> dict[str, str]:
        """Each picture's captions as one text, a line each."""
        return {picture: "\n".join(captions) for picture, captions in self.captions.items()}

    def rows(self) -> Rows:
        """A row for each picture: one caption as its `query`, the others as its `document`, its path as `name`.

        The query is the caption whose hash is lowest, whatever the order. A picture of one caption has it as its
        document, and an empty query.

        Raises:
            UserError: each picture has one caption only, or too few have several.
        """
        held = {
            picture: min(captions, key=lambda text: (place(text), text)) if len(captions) > 1 else ""
            for picture, captions in self.captions.items()
        }
        if not any(held.values()):
            raise UserError(
                f"{self.source}: each picture has one caption, so that none is left to ask for it; give pictures "
                "a second one to train on or to compare with, or search them as they are: twofold index"
            )
        several = sum(1 for text in held.values() if text)
        if not self.parts and several < len(PARTS):
            raise UserError(
                f"{self.source}: {several} pictures have more than one caption, too few for train, validation and "
                "test; caption more, or search them as they are: twofold index"
            )
        others = ("\n".join(text for text in texts if text != held[p]) for p, texts in self.captions.items())
        columns = {"query": [*held.values()], "document": [*others], "name": [*held], "group": [*held]}
        if self.parts:
            columns["split"] = [self.parts[picture] for picture in held]
        return Rows.of(columns, name=self.name, source=self.source)


def find(source: Path, columns: Mapping[str, str] | None = None) -> Pictures | None:
    """The captioned pictures in a folder, or of a table beside its pictures; None where it is none.

    Args:
        columns: `image` and `caption` to the names that a table has for them. Where `query` or `document` is among
            them, the table is read as one of texts.

    Raises:
        UserError: pictures without any captions and nothing else to read, captions of which no picture is there, or
            files that are named as images and are none.
    """
    if {"query", "document"} & {*(columns or ())} or not source.exists():
        return None
    folder = source if source.is_dir() else source.parent
    tables = {} if source.is_dir() else caption_tables([source], columns)
    if not source.is_dir() and not tables:
        return None
    files = list(files_in(folder))
    images = [path for path in files if is_image(path)]
    if source.is_dir() and images:
        tables = caption_tables(files, columns)
    if not tables and not images:
        return None
    found = _Found(folder, images)
    if tables:
        found.read_tables(tables)
    elif not found.read_beside([path for path in files if is_text(path) and not is_about(path)]):
        _refuse_alone(folder, [path.relative_to(folder).as_posix() for path in images], files)
        return None
    return found.pictures(source)


class _Found:
    """Captions as they are gathered."""

    def __init__(self, folder: Path, images: Iterable[Path]) -> None:
        self.folder = folder
        inside = [path.relative_to(folder).as_posix() for path in images]
        self._at = {_normal(path): path for path in inside}
        self._named: dict[str, list[str]] = {}
        for path in inside:
            self._named.setdefault(_normal(posixpath.basename(path)), []).append(path)
        self.captions: dict[str, dict[str, None]] = {path: {} for path in inside}
        self.parts: dict[str, str] = {}
        self.gone: dict[str, None] = {}
        self.stray: list[str] = []

    def read_tables(self, tables: Mapping[Path, Table]) -> None:
        for path, table in tables.items():
            splits = table.get("split", [None] * len(table["image"]))
            for row, (cell, texts, split) in enumerate(zip(table["image"], table["caption"], splits, strict=True), 1):
                if is_empty(cell):
                    self.stray.append(f"row {row} of {path.name}")
                    continue
                picture = self._picture(path.parent, file_of(cell))
                if picture is None:
                    self.gone[file_of(cell)] = None
                    continue
                self._add(picture, texts if isinstance(texts, list | tuple) else [texts])
                if not is_empty(split):
                    self.parts.setdefault(picture, str(split))

    def read_beside(self, texts: list[Path]) -> bool:
        """Texts of their pictures' names. Whether there are such: at least half of the folder's texts are."""
        pictures: dict[Path, list[str]] = {}
        for path in self.captions:
            pictures.setdefault((self.folder / path).with_suffix(""), []).append(path)
        beside = [path for path in texts if path.suffix.casefold() == ".txt" and path.with_suffix("") in pictures]
        if not beside or 2 * len(beside) < len(texts):
            return False
        self.stray += [path.relative_to(self.folder).as_posix() for path in texts if path not in beside]
        for name, text in read_texts(self.folder, beside):
            for picture in pictures[(self.folder / name).with_suffix("")]:
                self._add(picture, text.splitlines())
        return True

    def pictures(self, source: Path) -> Pictures:
        captioned = {path: tuple(texts) for path, texts in sorted(self.captions.items()) if texts}
        if not captioned and self.gone:
            raise UserError(
                f"{source}: none of the {len(self.gone)} pictures that have captions is there (the first: "
                f"{next(iter(self.gone))}); give the folder that holds both, or read the table as texts "
                "with --columns document=…"
            )
        if not captioned:
            raise UserError(f"{source}: no picture has a caption with a text in it; fill them in")
        _check(self.folder, captioned)
        bare = sorted(path for path, texts in self.captions.items() if not texts)
        notes = (
            _note("pictures that have captions and are not there, left out", [*self.gone]),
            _note("captions without a picture, left out", self.stray),
            _note("pictures without a caption, left out", bare),
        )
        own = [self.parts.get(path, "") for path in captioned]
        by_folder = [part_name(path.partition("/")[0].rstrip("0123456789")) for path in captioned]  # such as val2017
        parts = own if any(own) else by_folder if all(by_folder) and "train" in by_folder else []
        named = dict(zip(captioned, map(str, parts), strict=True)) if parts else {}
        name = self.folder.absolute().name
        return Pictures(name, str(source), captioned, named, tuple(filter(None, notes)))

    def _picture(self, beside: Path, cell: str) -> str | None:
        """The picture that a table names: as seen from the table, from the folder, or by a bare name that one has."""
        inside = posixpath.relpath(cell, self.folder.absolute().as_posix()) if posixpath.isabs(cell) else cell
        for base in (beside.relative_to(self.folder).as_posix(), ""):
            if found := self._at.get(_normal(posixpath.normpath(posixpath.join(base, inside)))):
                return found
        alike = self._named.get(_normal(cell), [])
        return alike[0] if len(alike) == 1 else None

    def _add(self, picture: str, texts: Iterable[Any]) -> None:
        said = (" ".join(str(text).split()) for text in texts if not is_empty(text))
        self.captions[picture] |= dict.fromkeys(said)


def _check(folder: Path, pictures: Iterable[str]) -> None:
    """Refuses files that are named as images and are none, by their beginnings."""
    names, broken = list(pictures), []
    with progress.stage(f"look at {len(names):,} pictures", total=len(names)) as stage:
        for name in names:
            try:
                with opened(folder / name):
                    stage.advance()
            except UserError as error:
                broken.append((name, error))
    if len(broken) == 1:
        raise broken[0][1]
    if broken:
        what = f"{len(broken)} files are not images that can be read ({listed(name for name, _ in broken)})"
        raise UserError(f"{folder}: {what}; remove or replace them")


def _refuse_alone(folder: Path, images: list[str], files: list[Path]) -> None:
    """Refuses pictures with nothing to read beside them but tables that say neither caption nor text."""
    tables = {path.name: column_names(path) for path in files if format_of(path) not in (None, "txt")}
    texts = any(is_text(path) for path in files)
    if texts or any({"query", "document", "text"} & {*names} for names in tables.values()):
        return
    held = "".join(f" ({name} has the columns {listed(names)})" for name, names in list(tables.items())[:1])
    shown = listed(images[:3]) + ", …" * (len(images) > 3)
    raise UserError(
        f"{folder} holds pictures ({shown}) and no captions{held}; give a table with the columns file_name and "
        "caption (others: --columns image=…,caption=…), or dog.txt beside dog.jpg"
    )


def _normal(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _note(what: str, names: list[str]) -> str:
    return f"{what}: {len(names)} ({listed(names[:3])}{', …' * (len(names) > 3)})" if names else ""
