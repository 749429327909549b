"""Output folders: what is in one already, and whether it may be replaced."""

from __future__ import annotations

from pathlib import Path

from twofold.checkpoints.folder import MANIFEST
from twofold.errors import UserError


def holds_model(place: Path) -> bool:
    """Whether a finished model is there.

    Raises:
        UserError: something else is there, which is never replaced.
    """
    if (place / MANIFEST).is_file():
        return True
    if place.is_file():
        raise UserError(f"{place} is a file; give the name of a folder")
    if place.is_dir() and any(place.iterdir()):
        raise UserError(f"{place} holds something that is not a model; give another folder with -o")
    return False


def check_free(place: Path, fresh: bool) -> None:
    """Makes sure that a model can be written there.

    Raises:
        UserError: a model is there and `fresh` is not set, or something else is there.
    """
    if holds_model(place) and not fresh:
        raise UserError(f"{place} holds a model already; give another folder with -o, or replace it with --fresh")
