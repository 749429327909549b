"""Rows: columns, fingerprints, parts and the errors that name the fix."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twofold.data import Rows
from twofold.errors import UserError


def test_a_fingerprint_follows_the_content() -> None:
    rows = Rows.of({"text": ["a", "b"]})
    assert rows.fingerprint == Rows.of({"text": ("a", "b")}, name="other", source="elsewhere").fingerprint
    others = [
        Rows.of({"text": ["b", "a"]}),
        Rows.of({"text": ["a", "c"]}),
        Rows.of({"body": ["a", "b"]}),
        Rows.of({"text": ["a", "b"]}, splits=["train", "test"]),
        rows.take([0]),
        rows.take([1]),
        rows.take([1, 0]),
        rows.take([0, 0, 1]),
    ]
    assert len({rows.fingerprint, *(other.fingerprint for other in others)}) == 9
    assert rows.take(np.arange(2)) is rows
    assert Rows.of({"text": ["a", "b"]}).fingerprint == "sha256-39389dc89bc3d019"


def test_parts_and_takes_carry_splits() -> None:
    rows = Rows.of({"text": list("abc")}, splits=["train", "test", "train"])
    assert rows.part("train").columns["text"] == ["a", "c"]
    assert rows.take([2, 1]).splits == ["train", "test"]
    assert len(rows.part("validation")) == 0
    assert repr(rows) == "Rows('rows': 3 rows of text, split 2/0/1)"
    with pytest.raises(UserError, match="Did you mean 'train'"):
        rows.part("trian")
    with pytest.raises(UserError, match="not split yet"):
        Rows.of({"text": ["a"]}).part("test")


def test_columns_must_be_of_one_length() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        Rows.of({"a": [1], "b": [1, 2]})


@pytest.mark.parametrize(
    ("columns", "needed", "message"),
    [
        (
            ["question", "answer"],
            ["query", "document"],
            "my.csv has no column 'query' or 'document' (found: question, answer; needed: query, document); "
            "rename with --columns query=question,document=answer",
        ),
        (
            ["Text", "label"],
            ["text", "label"],
            "my.csv has no column 'text' (found: Text, label; needed: text, label); rename with --columns text=Text",
        ),
        (
            ["zzz"],
            ["query"],
            "my.csv has no column 'query' (found: zzz; needed: query); rename with --columns query=YOUR_COLUMN"
            " (if the file has no line of names, count its columns: --columns query=1)",
        ),
    ],
)
def test_a_missing_column_names_the_fix(columns: list[str], needed: list[str], message: str) -> None:
    rows = Rows.of({name: ["x"] for name in columns}, source="my.csv")
    with pytest.raises(UserError) as caught:
        rows.require(*needed)
    assert str(caught.value) == message


def test_long_and_many_names_are_cut_short() -> None:
    rows = Rows.of({f"{index} " + "x" * 1_000_000: [1] for index in range(30)})
    with pytest.raises(UserError) as caught:
        rows.require("text")
    assert len(str(caught.value)) < 1200
    assert "(30 in all)" in str(caught.value)


def test_rows_with_an_empty_cell_are_left_out() -> None:
    rows = Rows.of({"query": ["a", " ", None, "d", math.nan], "document": ["x", "y", "z", "", "v"]}, source="my.csv")
    with pytest.warns(UserWarning, match="my.csv: 4 of 5 rows left out, empty 'query' in row 2 and others"):
        assert rows.filled("query", "document").columns["document"] == ["x"]
    with pytest.raises(UserError, match="each of its 1 rows has an empty 'query'"):
        rows.take([1]).filled("query")
    assert rows.require("query", "document") == (rows.columns["query"], rows.columns["document"])
