"""Histories of items, one a user, split by time: the last item is the test's, the one before it validation's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np

from twofold.data.rows import Rows, is_empty
from twofold.errors import UserError

FEWEST = 3  # events of a user: one to learn from, one for validation, one for the test
_NAMES = {
    "user": ("user", "userId", "user_id", "uid", "customer", "session"),
    "item": ("item", "itemId", "item_id", "movieId", "movie_id", "product", "product_id", "iid"),
    "time": ("time", "timestamp", "date", "datetime"),
}
_HELD_OUT = {"train": 2, "validation": 1, "test": 0}


@dataclass(frozen=True)
class RecommendData:
    """What each user took, in order.

    Args:
        name, source, fingerprint: of the data set.
        items: names, in the order in which they are numbered.
        users: names.
        histories: item numbers of each user, oldest first, at least 3.
        notes: what was left out.
    """

    name: str
    source: str
    fingerprint: str
    items: tuple[str, ...]
    users: tuple[str, ...]
    histories: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()

    def known(self, part: str) -> list[tuple[int, ...]]:
        """What is known of each user before the item of that part; for "train" all that is learned from."""
        left = _HELD_OUT[part]
        return [history[: -1 - left] if part != "train" else history[:-left] for history in self.histories]

    def wanted(self, part: str) -> np.ndarray:
        """The item of that part of each user, `[users]`."""
        return np.array([history[-1 - _HELD_OUT[part]] for history in self.histories], dtype=np.int64)

    @cached_property
    def counts(self) -> np.ndarray:
        """How often each item was taken in what is learned from, `[items]`."""
        learned = [item for history in self.known("train") for item in history]
        return np.bincount(np.array(learned, dtype=np.int64), minlength=len(self.items))

    def limited(self, users: int) -> RecommendData:
        """At most so many users, the same ones every time; items keep their numbers."""
        if users >= len(self.users):
            return self
        order = sorted(range(len(self.users)), key=lambda i: hashlib.sha256(self.users[i].encode()).digest())
        kept = sorted(order[:users])
        return replace(
            self,
            users=tuple(self.users[i] for i in kept),
            histories=tuple(self.histories[i] for i in kept),
        )


def from_rows(rows: Rows) -> RecommendData:
    """Histories from rows with `user` and `item`, and where given `time`; else the rows' order is that of time.

    Columns may have other usual names (userId, movieId, timestamp, …). A file of lines "user item" does too.
    Events of one time keep their order. Users with fewer than 3 events cannot be split: they are dropped and counted.

    Raises:
        UserError: a column is missing, a time that is none, or no user with 3 events.
    """
    rows = _named(rows)
    users, items = rows.require("user", "item")
    usable = [i for i in range(len(rows)) if not (is_empty(users[i]) or is_empty(items[i]))]
    notes = (
        [f"{len(rows) - len(usable)} rows without a user or an item were left out"] if len(usable) < len(rows) else []
    )
    when = _times(rows)
    order = usable if when is None else sorted(usable, key=lambda i: when[i])
    taken: dict[str, list[str]] = {}
    for i in order:
        taken.setdefault(str(users[i]), []).append(str(items[i]))
    kept = {user: history for user, history in taken.items() if len(history) >= FEWEST}
    if not kept:
        raise UserError(f"{rows.source}: no user has {FEWEST} events; give longer histories")
    if len(kept) < len(taken):
        notes.append(f"{len(taken) - len(kept)} users with fewer than {FEWEST} events were left out")
    names = list(dict.fromkeys(item for history in kept.values() for item in history))
    number = {name: i for i, name in enumerate(names)}
    return RecommendData(
        name=rows.name,
        source=rows.source,
        fingerprint=rows.fingerprint,
        items=tuple(names),
        users=tuple(kept),
        histories=tuple(tuple(number[item] for item in history) for history in kept.values()),
        notes=tuple(notes),
    )


def _named(rows: Rows) -> Rows:
    """The rows with the columns' usual names as ours; lines of two words as user and item."""
    if set(rows.columns) == {"text"}:
        cells = [str(line).split() for line in rows.columns["text"]]
        if all(len(each) == 2 for each in cells):
            return replace(rows, columns={"user": [u for u, _ in cells], "item": [i for _, i in cells]})
    columns = dict(rows.columns)
    for wanted, names in _NAMES.items():
        found = next((name for name in names if name in columns), None)
        if found is not None and found != wanted:
            columns[wanted] = columns.pop(found)
    return replace(rows, columns=columns)


def _times(rows: Rows) -> Sequence[float] | None:
    """Times as numbers; dates as seconds, those without a zone as if in UTC."""
    values = rows.columns.get("time")
    if values is None:
        return None
    empty = next((i for i, value in enumerate(values) if is_empty(value)), None)
    if empty is not None:
        raise UserError(f"{rows.source}: time is empty in row {empty + 1}; fill it in, or leave the column out")
    read = _number if _number(values[0]) is not None else _seconds
    times = [read(value) for value in values]
    bad = next((i for i, time in enumerate(times) if time is None), None)
    if bad is not None:
        raise UserError(
            f"{rows.source}: the time {str(values[bad])!r} in row {bad + 1} is no "
            f"{'number, as the first one is' if read is _number else 'number and no date such as 2024-01-31'}"
        )
    return [time for time in times if time is not None]


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds(value: object) -> float | None:
    try:
        when = datetime.fromisoformat(str(value).strip())
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
