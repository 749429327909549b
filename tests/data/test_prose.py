"""First sentences and texts without names."""

from __future__ import annotations

import pytest

from twofold.data.prose import count_words, first_sentence, name_words, without_words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Read a file. Then close it.", "Read a file."),
        ("Read a file, e.g. A text. Then close it.", "Read a file, e.g. A text."),
        ("Use sep (i.e. The mark) here. More.", "Use sep (i.e. The mark) here."),
        ("Open foo.txt and read 3.5 lines. More.", "Open foo.txt and read 3.5 lines."),
        ("Split\n  the line\nhere. More.", "Split the line here."),
        ("No full stop\n\nSecond paragraph.", "No full stop"),
        ("Is it empty? Then stop.", "Is it empty?"),
        ('Say "stop." Then go.', 'Say "stop."'),
        ("Call ``a. B`` first. Then go.", "Call ``a. B`` first."),
        ("Return x (see J. Smith. Old paper). Rest.", "Return x (see J. Smith. Old paper)."),
        ("S.find(sub[, start]) -> int\n\nReturn the lowest index. More.", "Return the lowest index."),
        ("Make it\n:param x: the thing.", "Make it"),
        ("Choose one of\n- this\n- that", "Choose one of"),
        ("Do it.\n>>> do()\n3", "Do it."),
        ("Version etc. goes on. End.", "Version etc. goes on."),
        ("", ""),
        ("f(x) -> y", "f(x) -> y"),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("read_csv", {"read_csv", "read", "csv"}),
        ("readCSVFile", {"readcsvfile", "read", "csv", "file"}),
        ("__init__", {"__init__", "init"}),
        ("b64encode", {"b64encode", "b", "64", "encode"}),
        ("_", {"_"}),
    ],
)
def test_name_words(name: str, words: set[str]) -> None:
    assert name_words(name) == words


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("Read a CSV file into rows.", "read_csv", "a file into rows."),
        ("Reads already read csvs.", "read_csv", "Reads already csvs."),
        ("Like read_csv() but lazy.", "read_csv", "Like but lazy."),
        ("Use `read` or ``csv`` (read) to 'read' it.", "read_csv", "Use or to it."),
        ("Call f() on all of it.", "read_csv", "Call f() on all of it."),
        ("Return the copy, or (a copy) of it.", "copy", "Return the, or (a) of it."),
    ],
)
def test_without_words(text: str, name: str, left: str) -> None:
    assert without_words(text, name_words(name)) == left


def test_count_words() -> None:
    assert count_words("a b-c, d_e 5!") == 5
