"""What the rows of a comparison say of one arm each, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twofold.measure.reports import numbers
from twofold.measure.reports.numbers import known

Row = Mapping[str, Any]


def legend(rows: Iterable[Row], brackets: bool = False) -> str:
    """What the marks of these rows mean; with `brackets`, what stands in them too."""
    marks = {mark(row) for row in rows}
    parts = [
        ("★", "recommended"),
        ("●", "on the Pareto front of quality and latency"),
        ("↓", "dropped early"),
        ("–", "left out"),
        ("×", "failed"),
    ]
    words = [f"{sign} {meaning}" for sign, meaning in parts if sign in marks]
    if brackets:
        words.append("in square brackets the 95 % interval")
    return ", ".join(words)


def mark(row: Row) -> str:
    """One sign for how it ended."""
    status = str(row.get("status", ""))
    if status.startswith("failed"):
        return "×"
    if row.get("recommended"):
        return "★"
    if row.get("pareto"):
        return "●"
    return "↓" if status.startswith("dropped") else "–" if status.startswith("left out") else ""


def aside(row: Row) -> bool:
    """Whether the arm was not measured to the end."""
    return str(row.get("status", "measured")) != "measured"


def status(row: Row) -> str | None:
    """Its title, and what became of it where it was not measured to the end."""
    parts = [str(row["title"])] if row.get("title") and row["title"] != name(row) else []
    parts += [str(row["status"])] if aside(row) else []
    return " · ".join(parts) or None


def name(row: Row) -> str:
    """Its label, with options where it has any."""
    return str(row.get("label") or row["id"])


def mean(row: Row) -> float | None:
    """Its quality on the test part."""
    return (row.get("quality") or {}).get("mean")


def ends(row: Row) -> str | None:
    """The interval of its quality: `[0.299, 0.326]`."""
    quality = row.get("quality") or {}
    if not known(quality.get("low")) or not known(quality.get("high")):
        return None
    return f"[{numbers.quality(quality['low'])}, {numbers.quality(quality['high'])}]"


def latency(row: Row, which: str) -> float | None:
    """Milliseconds a request: `which` is "median" or "p95"."""
    return (row.get("latency_ms") or {}).get(which)
