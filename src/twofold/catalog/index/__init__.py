"""The generated index of every system: one JSON file a family, read without importing any system."""

from __future__ import annotations

import json
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
from pathlib import Path

from twofold.errors import unknown

FOLDER = Path(__file__).parent


@cache
def cards() -> tuple[dict[str, Any], ...]:
    """Every card of the package: id, title, kind, family, tasks, summary, options, claim, module."""
    found: list[dict[str, Any]] = []
    for file in sorted(FOLDER.glob("*.json")):
        found += json.loads(file.read_text(encoding="utf-8"))
    return tuple(found)


def select(task: str | None = None, kind: str | None = None, family: str | None = None) -> list[dict[str, Any]]:
    """Cards that serve a task, are of a kind, and belong to a family; None leaves a condition out.

    Raises:
        UserError: a task, kind or family that no card has.
    """
    chosen = list(cards())
    if task is not None:
        _known("task", task, {t for c in chosen for t in c["tasks"]})
        chosen = [c for c in chosen if task in c["tasks"]]
    if kind is not None:
        _known("kind", kind, {k for c in cards() for k in kinds(c)})
        chosen = [c for c in chosen if kind in kinds(c)]
    if family is not None:
        _known("family", family, {c["family"] for c in cards()})
        chosen = [c for c in chosen if c["family"] == family]
    return chosen


def kinds(card: dict[str, Any]) -> tuple[str, ...]:
    """Everything that a card's system can be used as, its own kind first."""
    return (card["kind"], *card.get("also", ()))


def card(id: str) -> dict[str, Any]:
    """One card.

    Raises:
        UserError: no such id; names the nearest.
    """
    for found in cards():
        if found["id"] == id:
            return found
    raise unknown("system", id, (c["id"] for c in cards()))


def _known(what: str, value: str, values: set[str]) -> None:
    if value not in values:
        raise unknown(what, value, values)
