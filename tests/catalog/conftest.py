from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twofold.catalog import index, register


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(register._registered, "classes", dict(register._registered.classes))


@pytest.fixture
def shelve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Puts cards in place of the package's index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setattr(index, "FOLDER", folder)

    def put(*cards: dict[str, Any]) -> None:
        whole = [{"title": "", "kind": "model", "tasks": ["search"], "summary": "", "options": {}, **c} for c in cards]
        for family in {c["family"] for c in whole}:
            (folder / f"{family}.json").write_text(json.dumps([c for c in whole if c["family"] == family]))
        index.cards.cache_clear()

    put()
    yield put
    index.cards.cache_clear()
