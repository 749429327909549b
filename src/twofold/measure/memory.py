"""Peak resident memory of this process while something runs.

Linux keeps the peak itself and lets a process reset it; where that is refused a thread samples; elsewhere the peak
since the process began is all there is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_SAMPLE_SECONDS = 0.002

_open_peaks: list[Peak] = []


class Peak:
    """The peak of a block: filled in while it runs, complete at its end.

    Attributes:
        bytes: highest resident memory so far; None where the system does not tell.
        start: resident memory at the beginning; None where the system does not tell.
        method: "kept by the system", "sampled", "since the process began" or "unknown".
    """

    def __init__(self) -> None:
        self.start = _resident("VmRSS")
        self.bytes = self.start
        self.method = "unknown"

    @property
    def megabytes(self) -> float | None:
        """The peak in units of 10^6 bytes."""
        return None if self.bytes is None else self.bytes / 1e6

    @property
    def grown(self) -> int | None:
        """Bytes of the peak above the beginning."""
        return None if self.bytes is None or self.start is None else self.bytes - self.start

    def _see(self, amount: int | None) -> None:
        if amount is not None:
            self.bytes = amount if self.bytes is None else max(self.bytes, amount)


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measures the block: `with peak_memory() as peak: …`, then `peak.megabytes`. Blocks may be nested."""
    peak = Peak()
    with _watching(peak):
        yield peak


@contextmanager
def _watching(peak: Peak) -> Iterator[None]:
    if peak.start is None:
        try:
            yield
        finally:
            peak._see(_since_the_beginning())
            peak.method = "unknown" if peak.bytes is None else "since the process began"
    elif _reset():
        peak.method = "kept by the system"
        _open_peaks.append(peak)
        try:
            yield
        finally:
            _tell_open_peaks()
            _open_peaks.remove(peak)
    else:
        peak.method = "sampled"
        before, done = _since_the_beginning(), threading.Event()
        sampler = threading.Thread(target=_sample, args=(peak, done), daemon=True)
        sampler.start()
        try:
            yield
        finally:
            done.set()
            sampler.join()
            peak._see(_resident("VmRSS"))
            after = _since_the_beginning()
            if before is not None and after is not None and after > before:
                peak._see(after)  # a new record of the process was set in here, however short


def _reset() -> bool:
    """Sets the system's peak to what is resident now; the peaks that are being measured hear of it first."""
    _tell_open_peaks()
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _tell_open_peaks() -> None:
    highest = _resident("VmHWM")
    for peak in _open_peaks:
        peak._see(highest)


def _sample(peak: Peak, done: threading.Event) -> None:
    while not done.wait(_SAMPLE_SECONDS):
        peak._see(_resident("VmRSS"))


def _resident(field: str) -> int | None:
    """A field of the process's status in bytes, or None where there is none."""
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _since_the_beginning() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
