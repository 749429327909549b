"""Ctrl-C that waits for the step in hand."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed."""

    asked: bool = False


@contextlib.contextmanager
def deferred() -> Iterator[Interrupt]:
    """Note the first Ctrl-C instead of raising, and raise `KeyboardInterrupt` when the block ends.

    An update cut in half would spoil the weights, so the block looks at `asked` between steps. A second Ctrl-C
    raises at once. Outside the main thread, or where the program handles the signal itself, nothing changes.
    """
    interrupt = Interrupt()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )

    def note(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupt.asked:
        raise KeyboardInterrupt
