"""Progress of long work, told to whoever listens.

Library code says `with progress.stage("encode documents", total=n) as stage` and `stage.advance(k)`.
Nothing is printed unless a listener is set: the command line sets one, a notebook may set its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Protocol


class Stage:
    """One piece of work: `done` of `total` units (None: not known), and a short note such as the loss.

    `remaining` overrides the estimate of the seconds left where the worker knows it better,
    as under a budget of seconds. `read` gives what is done where that can be read off, as from a clock.
    """

    def __init__(self, label: str, total: float | None, listener: Listener | None, depth: int) -> None:
        self.label, self.total, self.depth = label, total, depth
        self._done: float = 0
        self.read: Callable[[], float] | None = None
        self.text = ""
        self.started = time.monotonic()
        self.remaining: float | None = None
        self._listener = listener

    @property
    def done(self) -> float:
        """Units that are done."""
        return self._done if self.read is None else min(self.read(), self.total or float("inf"))

    @done.setter
    def done(self, amount: float) -> None:
        self._done = amount

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self._done += amount
        if note is not None:
            self.text = note
        if self._listener is not None:
            self._listener.changed(self)

    def note(self, text: str) -> None:
        self.advance(0, text)

    def seconds_left(self) -> float | None:
        """Seconds until the stage ends, by its pace so far; None when nothing can be said yet."""
        if self.remaining is not None:
            return self.remaining
        if not self.total or not self.done:
            return None
        elapsed = time.monotonic() - self.started
        return max(0.0, elapsed * (self.total - self.done) / self.done)


class Listener(Protocol):
    """Hears of stages as they begin, change and end."""

    def began(self, stage: Stage) -> None: ...
    def changed(self, stage: Stage) -> None: ...
    def ended(self, stage: Stage) -> None: ...


_listener: ContextVar[Listener | None] = ContextVar("twofold_progress", default=None)
_depth: ContextVar[int] = ContextVar("twofold_progress_depth", default=0)


@contextlib.contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Send the progress of the work inside to `listener` (None silences it)."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def stage(label: str, total: float | None = None) -> Iterator[Stage]:
    """A stage of work; stages nest."""
    listener, depth = _listener.get(), _depth.get()
    current = Stage(label, total, listener, depth)
    token = _depth.set(depth + 1)
    if listener is not None:
        listener.began(current)
    try:
        yield current
    finally:
        _depth.reset(token)
        if listener is not None:
            listener.ended(current)


def clock(seconds: float) -> str:
    """Seconds as a person reads them: `45 s`, `3 min 20 s`, `1 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
