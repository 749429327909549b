"""What verbs read and write: one text or many in, lines or arrays out."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twofold.data import Rows, read
from twofold.errors import UserError

TABLES = (".jsonl", ".json", ".csv", ".tsv")
ENDINGS = (*TABLES, ".ndjson", ".txt", ".parquet", ".gz", ".npy")


def given(words: Sequence[str], wanted: Sequence[str], columns: Mapping[str, str] | None) -> Rows | list[str]:
    """What was typed after the model: rows where it names a file (or is `-`, lines of standard input), else texts.

    Args:
        words: as typed.
        wanted: columns of which a file needs the first or any.
        columns: the wanted names to the file's.

    Raises:
        UserError: no such file, none of the columns, or an empty text.
    """
    if list(words) == ["-"]:
        lines = [line for line in sys.stdin.read().splitlines() if line.strip()]
        if not lines:
            raise UserError("standard input is empty; give a line for each text")
        return Rows.of({wanted[0]: lines}, name="standard input", source="standard input")
    if len(words) == 1 and is_file(words[0]):
        rows = read(words[0], columns=columns)
        name = next((name for name in wanted if name in rows.columns), wanted[0])
        rows.require(name)
        return rows.filled(name) if name == "query" else rows  # beside documents, queries may be empty
    if any(not word.strip() for word in words):
        raise UserError("a text is empty; say what it should be")
    return list(words)


def texts(found: Rows | list[str], wanted: Sequence[str]) -> list[str]:
    """The texts of what was given: of rows, the first of the wanted columns that they have."""
    if isinstance(found, Rows):
        return found.columns[next(name for name in wanted if name in found.columns)]
    return found


def is_file(word: str) -> bool:
    """Whether a word names data rather than being a text: a file that is there, or a name that looks like one."""
    if word.startswith("hf:") or os.path.isfile(word):
        return True
    return word.lower().endswith(ENDINGS) and not any(c.isspace() for c in word)


def check_ending(out: str | None, endings: Sequence[str] = TABLES) -> None:
    """Refuses a file to write before anything is computed.

    Raises:
        UserError: an ending that cannot be written, or no such folder.
    """
    if out is None:
        return
    path = Path(out)
    if path.suffix.lower() not in endings:
        *most, last = endings
        raise UserError(f"cannot write {out}; use a name that ends in {', '.join(most)} or {last}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.parent} to write {path.name} in; make it first")


def write_table(rows: Sequence[Mapping[str, Any]], out: str, names: Sequence[str] = ()) -> None:
    """Writes rows to `.jsonl`, `.json`, `.csv` or `.tsv`; a file that was there is replaced only by a whole one.

    Args:
        names: the columns that csv and tsv files begin with, whether or not there are rows.
    """
    kind = Path(out).suffix.lower()
    with _replacing(Path(out)) as path, path.open("w", encoding="utf-8", newline="") as file:
        if kind == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        elif kind == ".json":
            json.dump(list(rows), file, ensure_ascii=False, indent=1)
            file.write("\n")
        else:
            every = list(dict.fromkeys((*names, *(name for row in rows for name in row))))
            writer = csv.DictWriter(file, every, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def write_text(text: str, path: Path) -> None:
    """Writes a text file as a whole."""
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_array(array: Any, out: str) -> None:
    """Writes a NumPy array to `.npy`."""
    import numpy as np

    with _replacing(Path(out)) as path, path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_tensors(named: Mapping[str, Any], path: Path) -> None:
    """Writes tensors to a safetensors file as a whole."""
    from twofold.checkpoints import tensors

    with _replacing(path) as temporary:
        tensors.save(temporary, named)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_mask())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
