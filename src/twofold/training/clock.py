"""Seconds of training: those that a budget counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Runs from its creation, but for the blocks in which it is paused; starts at `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._zero = time.perf_counter() - seconds

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._zero

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._zero += time.perf_counter() - began
