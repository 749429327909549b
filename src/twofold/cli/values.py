"""What is typed after an option, as values; and what a file's error says to a person."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Any

from twofold.errors import UserError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def settings(pairs: Iterable[str] | None) -> dict[str, Any]:
    """`["lr=1e-4", "stat.keep=0.6"]` as a dictionary; values are read as YAML.

    Raises:
        UserError: no `=`, a value that is no YAML, or a key given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"cannot read --set {pair!r}; write --set key=value")
        if key in found:
            raise UserError(f"--set {key} is given twice; give it once")
        found[key] = value(text, key)
    return found


def value(text: str, key: str) -> Any:
    """One value, read as YAML; `1e-4` is a number, as a person means it."""
    import yaml

    if _NUMBER.fullmatch(text.strip()):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise UserError(f"cannot read the value of --set {key}={text} as YAML ({reason}); quote it") from None


def columns(text: str | None) -> dict[str, str] | None:
    """`query=question,document=answer` as a dictionary from wanted names to the data's.

    Raises:
        UserError: a piece that is no `wanted=yours`.
    """
    if text is None:
        return None
    found = {}
    for piece in text.split(","):
        wanted, equals, given = (part.strip() for part in piece.partition("="))
        if not (wanted and equals and given):
            raise UserError(f"cannot read --columns {piece.strip()!r}; write --columns query=question,document=answer")
        found[wanted] = given
    return found


def about_file(error: OSError) -> str:
    """A failed read or write, as one line that says what to do."""
    name = error.filename if error.filename is not None else "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; what was there before is untouched. Make room and run the same command again"
    if isinstance(error, FileNotFoundError):
        return f"there is no {name}; check the path"
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"no permission for {name}; choose another place, or change its rights"
    if isinstance(error, IsADirectoryError):
        return f"{name} is a folder; give a file"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{name} is a file where a folder is needed; choose another name"
    return f"{error.strerror or error} ({name})"
