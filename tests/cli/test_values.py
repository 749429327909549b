"""`--set` and `--columns`."""

from __future__ import annotations

import pytest

from twofold.cli.values import columns, settings
from twofold.errors import UserError


def test_values_are_read_as_yaml() -> None:
    pairs = [
        "a=1",
        "b=1e-4",
        "c=0.5",
        "d=true",
        "e=null",
        "f=[1, 2]",
        "g=x=y",
        "h=",
        "i='1'",
        "j.k=two words",
        "l=-2E+3",
    ]
    assert settings(pairs) == {
        "a": 1,
        "b": 1e-4,
        "c": 0.5,
        "d": True,
        "e": None,
        "f": [1, 2],
        "g": "x=y",
        "h": None,
        "i": "1",
        "j.k": "two words",
        "l": -2000.0,
    }
    assert settings(None) == {}


@pytest.mark.parametrize("pair", ["a", "=1", "a=[1", "a={"])
def test_what_cannot_be_read_is_named(pair) -> None:
    with pytest.raises(UserError, match="cannot read"):
        settings([pair])


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="--set a is given twice"):
        settings(["a=1", "a=2"])


def test_columns() -> None:
    assert columns(None) is None
    assert columns("query=question, document=answer") == {"query": "question", "document": "answer"}
    for text in ("query", "query=", "=question", "query=a,"):
        with pytest.raises(UserError, match="write --columns query=question,document=answer"):
            columns(text)
