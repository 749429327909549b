"""The same verbs from Python: what a command line cannot say."""

from __future__ import annotations

import pytest

import twofold
from twofold.catalog.register import add_file
from twofold.data import Rows, read

pytestmark = pytest.mark.usefixtures("cards")

COLUMNS = {"query": "question", "document": "answer"}


def test_fit_takes_rows_and_gives_a_model(pairs, here) -> None:
    rows = read(pairs, columns=COLUMNS)
    assert isinstance(rows, Rows)
    model = twofold.fit("bm25", rows, b=0.5)
    assert model.task == "search"
    assert model.history[-1]["options"]["b"] == 0.5
    assert model.search("lamp number 1", 1)[0].text.startswith("The lamp number 1")
    assert list(here.glob("*.training")) == []
    assert 0 < twofold.evaluate(model, rows).figures["mrr@10"] <= 1


def test_fit_takes_arms_and_ids_with_options(pairs) -> None:
    for system in (twofold.Arm("bm25", b=0.25), "bm25(b=0.25)"):
        model = twofold.fit(system, pairs, columns=COLUMNS, k1=2.0)
        assert model.history[-1]["options"] == {"k1": 2.0, "b": 0.25}


def test_apply_takes_arms_and_leaves_the_model(own, pairs) -> None:
    add_file(f"{own}:Mark")
    model = twofold.fit("bm25", pairs, columns=COLUMNS)
    chain = [twofold.Arm("mark", size=3.0), "trace"]
    changed = twofold.apply(chain, model, pairs, columns=COLUMNS, **{"trace.size": 4.0})
    assert [h["id"] for h in model.history] == ["bm25"]
    assert [h["options"].get("size") for h in changed.history] == [None, 3.0, 4.0]


def test_calibration_sees_the_training_part_only(own, pairs) -> None:
    add_file(f"{own}:Mark")
    model = twofold.fit("bm25", pairs, columns=COLUMNS)
    rows = read(pairs, columns=COLUMNS)
    parts = ["train"] * 3 + ["validation"] * 17 + ["test"] * 20
    split = Rows.of({**rows.columns, "split": parts}, name="split")
    assert twofold.apply("mark", model, split).history[-1]["report"]["rows"] == 3


def test_a_finished_run_is_loaded_with_a_warning(pairs) -> None:
    twofold.fit("bm25", pairs, columns=COLUMNS, out="model")
    with pytest.warns(UserWarning, match="made by the same run before; --fresh makes it again"):
        again = twofold.fit("bm25", pairs, columns=COLUMNS, out="model")
    assert again.search("lamp", 1)


def test_study_takes_options(own) -> None:
    report = twofold.study(f"{own}:Ponder", schemes=("one", "three"))
    assert report.figures["schemes"] == 2.0


def test_errors_are_one_kind(pairs) -> None:
    for call in (
        lambda: twofold.fit("bm25", "nothing.csv"),
        lambda: twofold.load("nothing"),
        lambda: twofold.show("nothing"),
        lambda: twofold.apply("bm25", "nothing"),
        lambda: twofold.pull("nothing"),
        lambda: twofold.evaluate("nothing", part="tset"),
        lambda: twofold.find(""),
    ):
        with pytest.raises(twofold.UserError):
            call()
