"""Reading JSON that somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twofold.errors import UserError


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: missing, not JSON, or not an object.
    """
    value = _read(file)
    if not isinstance(value, dict):
        raise UserError(f"{file} should hold a JSON object, and holds a {type(value).__name__}")
    return value


def read_json_list(file: Path) -> list[dict[str, Any]]:
    """The list of objects in a JSON file.

    Raises:
        UserError: missing, not JSON, or not such a list.
    """
    value = _read(file)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UserError(f"{file} should hold a list of JSON objects")
    return value


def write_json(file: Path, value: Any) -> None:
    """Writes JSON that a person can read too; everything in it must be plain data."""
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as JSON ({str(error)[:120]}); copy or download it again") from None
