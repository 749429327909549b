"""The generated index: what it holds, how it is chosen from, and that it is fresh."""

from __future__ import annotations

import json

import pytest

from twofold.catalog import build, index
from twofold.errors import UserError


def test_the_index_is_fresh() -> None:
    assert build.main(["--check"]) == 0, "run make index"


def test_every_card_is_in_the_file_of_its_family() -> None:
    for file in index.FOLDER.glob("*.json"):
        for card in json.loads(file.read_text(encoding="utf-8")):
            assert card["family"] == file.stem
            assert card["kind"] in ("model", "transform", "study")
            assert card["module"].startswith(f"twofold.systems.{file.stem}.")


def test_ids_and_numbers_are_unique() -> None:
    ids = [card["id"] for card in index.cards()]
    assert len(set(ids)) == len(ids)
    numbers = [card["number"] for card in index.cards() if "number" in card]
    assert len(set(numbers)) == len(numbers)


def test_a_stale_index_is_named(shelve, monkeypatch) -> None:
    monkeypatch.setattr(build, "build", lambda: {"one": "[]\n", "two": "[]\n"})
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0
    (index.FOLDER / "two.json").write_text("[1]\n")
    (index.FOLDER / "three.json").write_text("[]\n")
    with pytest.raises(UserError, match="the index of three, two is stale; run make index"):
        build.main(["--check"])
    assert build.main([]) == 0
    assert sorted(f.name for f in index.FOLDER.glob("*.json")) == ["one.json", "two.json"]


def test_select(shelve) -> None:
    shelve(
        {"id": "a", "family": "one"},
        {"id": "b", "family": "one", "kind": "study", "tasks": ["language", "search"]},
        {"id": "c", "family": "two", "tasks": ["language"]},
    )
    assert [c["id"] for c in index.select()] == ["a", "b", "c"]
    assert [c["id"] for c in index.select(task="language")] == ["b", "c"]
    assert [c["id"] for c in index.select(task="language", kind="model")] == ["c"]
    assert [c["id"] for c in index.select(family="one")] == ["a", "b"]
    for what, value in (("task", "langage"), ("kind", "modle"), ("family", "ones")):
        with pytest.raises(UserError, match=f"unknown {what} {value!r}. Did you mean"):
            index.select(**{what: value})


def test_card(shelve) -> None:
    shelve({"id": "lamp", "family": "one"})
    assert index.card("lamp")["family"] == "one"
    with pytest.raises(UserError, match=r"unknown system 'lump'\. Did you mean 'lamp'"):
        index.card("lump")
