"""Replacing a folder as a whole: readers find the old one or the new one, never half of either."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from twofold.errors import UserError

STALE_SECONDS = 3600.0
"""A half-written folder that nothing has touched for so long was left by a run that was killed."""


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new empty folder beside `target`; it takes `target`'s place when the block ends without an error.

    Everything in it is flushed to the disk first. When the block fails, or the process dies at any moment,
    what was at `target` stays readable (at worst under the name that `survivor` finds).

    Raises:
        UserError: the place cannot be written to, or the disk is full.
    """
    target = target.absolute()
    if target.is_symlink():
        target = target.resolve()
    partial = target.parent / f".{target.name}.partial-{uuid.uuid4().hex[:12]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        recover(target)
        _sweep(target)
        partial.mkdir()
        yield partial
        _flush(partial)
        _swap(partial, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    except Exception as error:
        if "No space left" in str(error):  # how writers in native code report a full disk
            raise _unwritable(target, OSError(errno.ENOSPC, "")) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def replacing_file(target: Path) -> Iterator[BinaryIO]:
    """A new file that takes `target`'s place when the block ends without an error; else nothing changes.

    Raises:
        UserError: the place cannot be written to, or the disk is full.
    """
    target = target.absolute()
    if target.is_symlink():
        target = target.resolve()
    partial = target.parent / f".{target.name}.partial-{uuid.uuid4().hex[:12]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def survivor(target: Path) -> Path:
    """Where the folder really is: `target`, or the old one that a run killed between two renames set aside."""
    aside = _aside(target)
    return aside if not target.exists() and aside.is_dir() else target


def recover(target: Path) -> None:
    """Puts a folder that was set aside, and never replaced, back into its place."""
    if survivor(target) != target:
        os.rename(_aside(target), target)


def _aside(target: Path) -> Path:
    target = target.absolute()
    return target.parent / f".{target.name}.old"


def _swap(new: Path, target: Path) -> None:
    aside = _aside(target)
    if not target.exists():
        os.rename(new, target)
    else:
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(target, aside)
        try:
            os.rename(new, target)
        except BaseException:
            recover(target)
            raise
    _flush_directory(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _flush(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            # A file that may not be written was not written here but kept from before.
            with contextlib.suppress(PermissionError), open(os.path.join(parent, name), "rb+") as file:
                os.fsync(file.fileno())
        _flush_directory(Path(parent))


def _flush_directory(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a directory be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sweep(target: Path) -> None:
    for left in target.parent.glob(f".{target.name}.partial-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"the disk is full: {target} was not written, what was there before is untouched; make room")
    return UserError(f"cannot write {target} ({error.strerror or error}); what was there before is untouched")
