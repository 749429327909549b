"""Progress on standard error: a live display in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from twofold.progress import Listener, Stage, clock

if TYPE_CHECKING:
    from rich.console import RenderableType

EVERY = 10.0  # seconds between two lines of one stage
LASTING = 1.0  # seconds after which a stage is worth a word


def listener() -> Listener:
    """What suits where standard error goes."""
    return Live() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines(sys.stderr)


class Lines:
    """A line for a stage that has lasted a second, and one every ten seconds from then on, with share and time left.

    A thread of its own writes them, so that a stage that says nothing for a while is shown all the same.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._stages: list[Stage] = []
        self._next: dict[int, float] = {}
        self._over = threading.Event()

    def began(self, stage: Stage) -> None:
        self._stages.append(stage)
        self._next[id(stage)] = stage.started + LASTING
        if len(self._stages) == 1:
            self._over = threading.Event()
            threading.Thread(target=self._watch, args=(self._over,), daemon=True).start()

    def changed(self, stage: Stage) -> None:
        pass

    def ended(self, stage: Stage) -> None:
        self._stages.remove(stage)
        del self._next[id(stage)]
        if not self._stages:
            self._over.set()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(LASTING / 4):
            now = time.monotonic()
            for stage in tuple(self._stages):
                if now >= self._next.get(id(stage), math.inf):
                    self._next[id(stage)] = now + EVERY
                    with contextlib.suppress(OSError, ValueError):  # standard error may be closed by then
                        print("  " * stage.depth + state(stage), file=self._file, flush=True)


def state(stage: Stage) -> str:
    """A stage in one line: `train: 40 %, loss 1.2, 30 s, 45 s left`."""
    parts = []
    if stage.total:
        parts.append(f"{min(1.0, stage.done / stage.total):.0%}".replace("%", " %"))
    if stage.text:
        parts.append(stage.text)
    parts.append(clock(time.monotonic() - stage.started))
    left = stage.seconds_left()
    if left is not None:
        parts.append(f"{clock(left)} left")
    return f"{stage.label}: {', '.join(parts)}"


class Live:
    """The stages that are under way, one below the other, redrawn a few times a second.

    Drawing happens in rich's own thread from the stages as they are, so that saying `advance` costs nothing.
    """

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._display: Any = None

    def began(self, stage: Stage) -> None:
        self._stages.append(stage)
        if self._display is None:
            self._open()

    def changed(self, stage: Stage) -> None:
        pass

    def ended(self, stage: Stage) -> None:
        self._stages.remove(stage)
        lasted = time.monotonic() - stage.started
        if stage.depth <= 1 and lasted >= LASTING:
            from rich.text import Text

            self._display.console.print(Text(f"{'  ' * stage.depth}{stage.label}  {clock(lasted)}", style="dim"))
        if not self._stages:
            self._display.stop()
            self._display = None

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live as Display

        console = Console(file=sys.stderr, markup=False, highlight=False, emoji=False)
        # What others print on standard output must go there untouched: only this display knows the terminal.
        self._display = Display(
            console=console, get_renderable=self._drawn, refresh_per_second=6, transient=True, redirect_stdout=False
        )
        self._display.start()

    def _drawn(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for stage in tuple(self._stages):
            elapsed, left = time.monotonic() - stage.started, stage.seconds_left()
            bar = (
                ProgressBar(total=stage.total, completed=min(stage.done, stage.total), width=24) if stage.total else ""
            )
            table.add_row(
                Text("  " * stage.depth + stage.label, no_wrap=True, overflow="ellipsis"),
                bar,
                Text(clock(elapsed), style="dim"),
                Text(f"{clock(left)} left" if left is not None else ""),
                Text(stage.text, style="dim", no_wrap=True, overflow="ellipsis"),
            )
        return table


@contextlib.contextmanager
def notes() -> Iterator[None]:
    """Shows what Twofold warns of as one line each; warnings of other packages only when debugging."""
    with warnings.catch_warnings():
        if not os.environ.get("TWOFOLD_DEBUG"):
            warnings.simplefilter("default")
            warnings.showwarning = _note
        yield


def _note(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.abspath(filename).startswith(here + os.sep) and issubclass(category, UserWarning):
        print("note: " + " ".join(str(message).split()), file=sys.stderr)
