"""Records: what was measured of a claim, one JSON file a system. Written only by the code that measured it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from twofold.errors import UserError
from twofold.trials.arms import write_json

FOLDER = Path(__file__).resolve().parent.parent / "records"
LARGEST = 20_000  # bytes


def path(id: str, folder: Path | None = None) -> Path:
    """Where the record of a system is."""
    return (folder or FOLDER) / f"{id}.json"


def read(id: str, folder: Path | None = None) -> dict[str, Any] | None:
    """A system's record, if it has one."""
    file = path(id, folder)
    if not file.exists():
        return None
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record


def write(record: dict[str, Any], folder: Path | None = None) -> Path:
    """Writes a record.

    Raises:
        UserError: it is too long to be read by a person.
    """
    size = len(json.dumps(record, indent=1, ensure_ascii=False).encode())
    if size > LARGEST:
        raise UserError(
            f"the record of {record['id']} would have {size:,} bytes, more than {LARGEST:,}: too long to be read; give "
            "fewer --seeds or --no-side (what ran is kept and does not run again), or --dry-run for the figures alone"
        )
    target = path(record["id"], folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, record)
    return target


def commit() -> str | None:
    """The commit of the code that runs, when it runs from a checkout; None when it was installed.

    Raises:
        UserError: the checkout holds changes that are not committed; a record would not say what was measured.
    """
    root = FOLDER.parents[2]
    if not (root / ".git").exists():
        return None
    changed = _git(root, "status", "--porcelain", "--", "src", "pyproject.toml")
    dirty = [
        line[3:]
        for line in changed.splitlines()
        if not line[3:].startswith(("src/twofold/records/", "src/twofold/catalog/index/"))
    ]
    if dirty:
        raise UserError(
            f"{len(dirty)} files differ from the last commit ({dirty[0]}, …), so nothing can be recorded; "
            "commit first, or add --dry-run to measure without a record"
        )
    return _git(root, "rev-parse", "HEAD").strip()


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"git {words[0]} failed in the checkout: {done.stderr.strip()}")
    return done.stdout
