import mmap
import time
from pathlib import Path

import pytest

from twofold.measure import memory
from twofold.measure.memory import peak_memory

MB = 1_000_000
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")


def touch(megabytes: int, seconds: float = 0.0) -> None:
    """Holds so much memory for a moment: fresh pages, not those that the process has freed and kept."""
    with mmap.mmap(-1, megabytes * MB) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        time.sleep(seconds)


@linux
@pytest.mark.parametrize("refused", [False, True])
def test_the_peak_of_a_block(refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if refused:
        monkeypatch.setattr(memory, "_RESET", tmp_path / "no" / "such")
    touch(90)  # an earlier and higher peak is not this block's
    with peak_memory() as peak:
        touch(40, seconds=0.1)
    assert peak.method == ("sampled" if refused else "kept by the system")
    assert peak.grown is not None
    assert 30 * MB < peak.grown < 60 * MB
    assert peak.megabytes == pytest.approx((peak.bytes or 0) / MB)


@linux
def test_a_short_record_is_seen_without_the_systems_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_RESET", tmp_path / "no" / "such")
    monkeypatch.setattr(memory, "_sample", lambda peak, done: None)
    highest = iter([10**12, 10**12 + 5, 10**12, 10**12])
    monkeypatch.setattr(memory, "_since_the_beginning", lambda: next(highest))
    with peak_memory() as a_record:
        touch(1)
    with peak_memory() as no_record:
        touch(1)
    assert a_record.bytes == 10**12 + 5
    assert (no_record.bytes or 0) < 10**12


@linux
def test_blocks_may_be_nested() -> None:
    with peak_memory() as outer:
        touch(80)
        with peak_memory() as inner:
            touch(30)
        touch(10)
    assert outer.grown is not None
    assert inner.grown is not None
    assert outer.grown > 70 * MB
    assert 20 * MB < inner.grown < 50 * MB


@linux
def test_the_peak_is_known_after_an_error() -> None:
    def fail() -> None:
        touch(40)
        raise RuntimeError

    with pytest.raises(RuntimeError), peak_memory() as peak:
        fail()
    assert (peak.grown or 0) > 30 * MB


def test_systems_that_tell_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "nothing")
    with peak_memory() as peak:
        touch(1)
    assert peak.start is None
    assert peak.grown is None
    assert peak.method in ("since the process began", "unknown")
    monkeypatch.setattr(memory, "_since_the_beginning", lambda: None)
    with peak_memory() as peak:
        touch(1)
    assert (peak.megabytes, peak.method) == (None, "unknown")
