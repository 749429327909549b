"""Progress on standard error."""

from __future__ import annotations

import contextlib
import io
import time
import warnings

from twofold import progress
from twofold.cli import live


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_listener_suits_the_place(monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(live.listener(), live.Lines)
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(live.listener(), live.Live)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(live.listener(), live.Lines)


def test_lines_come_now_and_then_even_when_nothing_is_said(monkeypatch) -> None:
    monkeypatch.setattr(live, "LASTING", 0.04)
    monkeypatch.setattr(live, "EVERY", 0.1)
    file = io.StringIO()
    with progress.listening(live.Lines(file)), progress.stage("work", total=4) as stage:
        for _ in range(50):
            with progress.stage("short"):
                pass
        stage.advance(1, note="loss 1.5")
        time.sleep(0.35)
    lines = file.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[0].startswith("work: 25 %, loss 1.5, 0 s, ")
    assert lines[0].endswith(" s left")


def test_lines_of_stages_inside_are_set_in(monkeypatch) -> None:
    monkeypatch.setattr(live, "LASTING", 0.02)
    file = io.StringIO()
    with progress.listening(live.Lines(file)), progress.stage("outer"), progress.stage("inner"):
        time.sleep(0.15)
    assert [line.partition(":")[0] for line in file.getvalue().splitlines()] == ["outer", "  inner"]


def test_lines_go_on_with_the_next_stage_and_after_an_error(monkeypatch) -> None:
    monkeypatch.setattr(live, "LASTING", 0.02)
    file = io.StringIO()
    with progress.listening(live.Lines(file)):
        with contextlib.suppress(ValueError), progress.stage("first"):
            time.sleep(0.06)
            raise ValueError
        with progress.stage("second"):
            time.sleep(0.06)
    assert [line.partition(":")[0] for line in file.getvalue().splitlines()] == ["first", "second"]


def test_the_live_display_shows_stages_and_what_is_done(monkeypatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(live, "LASTING", 0.0)
    with progress.listening(live.Live()), progress.stage("outer", total=2) as outer:
        with progress.stage("inner"):
            time.sleep(0.4)
        outer.advance(note="half")
    shown = terminal.getvalue()
    for expected in ("outer", "inner", "━", "  inner  0 s"):
        assert expected in shown


def test_state() -> None:
    stage = progress.Stage("train", 10, None, 0)
    assert live.state(stage) == "train: 0 %, 0 s"
    stage.advance(4, note="loss 2")
    stage.remaining = 75
    assert live.state(stage) == "train: 40 %, loss 2, 0 s, 1 min 15 s left"


def test_notes_are_one_line_and_only_ours(capsys) -> None:
    ours = live.__file__
    with live.notes():
        warnings.warn_explicit("two rows\nleft out", UserWarning, ours, 1)
        warnings.warn_explicit("theirs", UserWarning, "/elsewhere/theirs.py", 1)
        warnings.warn_explicit("old", DeprecationWarning, ours, 1)
    assert capsys.readouterr().err == "note: two rows left out\n"
