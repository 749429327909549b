import re

import pytest

from twofold.measure.reports import terminal
from twofold.measure.reports.terminal import Column

COLUMNS = ["system", "nDCG@10", "parameters", "note"]
ROWS = [
    ["bm25", 0.1812, None, "counts words"],
    ["gtr (backbone=minilm, layers=2)", 0.312, "22.7 M", "tuned on the upper layers of a pretrained encoder"],
]


@pytest.mark.parametrize("width", [120, 80, 60, 45])
def test_fits_and_nothing_is_cut(width: int) -> None:
    shown = terminal.text(terminal.table(COLUMNS, ROWS, width=width), width, color=False)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    joined = "".join(shown.split())
    for piece in ("bm25", "0.181", "0.312", "22.7M", "–", "(backbone=minilm,", "layers=2)", "countswords", "encoder"):
        assert piece in joined


def test_a_folded_table_repeats_its_key() -> None:
    columns = [Column("system", "left", key=True), *(Column(f"figure {i}") for i in range(8))]
    shown = terminal.text(terminal.table(columns, [["bm25", *range(8)]], width=40), 40, color=False)
    assert shown.count("bm25") == shown.count("system") > 1
    assert max(map(len, shown.splitlines())) <= 40


def test_figures_are_aligned_to_the_right_and_words_to_the_left() -> None:
    shown = terminal.text(terminal.table(["a", "b"], [["x", "1.5"], ["long", "12.5"]], width=80), 80, color=False)
    assert shown.splitlines()[1:] == ["x      1.5", "long  12.5"]


def test_colour_only_when_asked_for_or_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    table = terminal.table(["a"], [["x"]], styles=["bold"], title="t", width=40)
    assert "\x1b[" in terminal.text(table, 40, color=True)
    assert "\x1b" not in terminal.text(table, 40)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in terminal.text(table, 40)


def test_other_peoples_text_is_only_text() -> None:
    nasty = "[bold]x[/bold] :smile: \x1b[31mred\x07 \u202egnirts a\nb\r\ud800"
    shown = terminal.text(terminal.table(["name"], [[nasty]], title=nasty, width=100), 100, color=False)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800]", shown)
    assert shown.count("[bold]x[/bold] :smile:") == 2
    assert len(shown.splitlines()) == 3


def test_wide_letters_count_as_they_are_shown() -> None:
    shown = terminal.text(terminal.table(["a", "b"], [["日本", "1"], ["abcd", "2"]], width=40), 40, color=False)
    assert shown.splitlines()[1:] == ["日本  1", "abcd  2"]


def test_width_is_the_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "57")
    assert terminal.terminal_width() == 57


def test_an_empty_table_is_its_heading() -> None:
    assert terminal.text(terminal.table(["a", "b"], [], width=40), 40, color=False).split() == ["a", "b"]
