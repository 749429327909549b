"""`compare`, `evaluate`, `reproduce`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from twofold.trials import plan
from twofold.trials import reproduce as module

from .conftest import COLUMNS

pytestmark = pytest.mark.usefixtures("cards")


def test_compare_prints_the_table_and_what_to_do_next(run, own, pairs, here, monkeypatch) -> None:
    monkeypatch.setattr(plan, "ENDING", 0.2)
    words = ("compare", "search", pairs, COLUMNS, "--systems", f"bm25,{own}:Pocket,bm25(b=0.2)", "--minutes", "0.2")
    ran = run(*words, "-o", "out/")
    assert ran.code == 0, ran.error
    for expected in ("nDCG@10", "bm25 (b=0.2)", "pocket", "recommended", "Report: out/report.html"):
        assert expected in ran.out
    assert 'Use it: twofold search out/best "what you look for"' in ran.out
    assert "The lamp number 1" in run("search", "out/best", "lamp number 1", "-k", "1").out
    assert [row["label"] for row in run(*words, "--json").json["rows"]] == ["bm25", "bm25 (b=0.2)", "pocket"]
    other = run("compare", "search", pairs, COLUMNS, "--systems", "bm25")
    assert other.code == 2
    assert "--fresh" in other.error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("serch",), "unknown task 'serch'. Did you mean 'search'?"),
        (("search", "nothing.csv"), "there is no file or folder nothing.csv"),
        (("search", "pairs.jsonl", "--systems", "bm25"), "no column"),
        (("search", "pairs.jsonl", COLUMNS, "--systems", "bm52"), "unknown system 'bm52'. Did you mean 'bm25'?"),
        (("search", "pairs.jsonl", COLUMNS, "--systems", "stat"), "stat does not serve 'search'"),
        (("search", "pairs.jsonl", COLUMNS, "--systems", "bm25(b)"), "write bm25(name=value)"),
        (("search", "pairs.jsonl", COLUMNS, "--minutes", "-1"), "give a number above 0"),
    ],
)
def test_mistakes_of_a_compare(run, pairs, here, words, says) -> None:
    ran = run("compare", *words)
    assert ran.code == 2
    assert says in ran.error
    assert ran.error.count("\n") == 1
    assert not (here / "out").exists()


def test_evaluate(run, lexical, pairs) -> None:
    found = run("evaluate", lexical, pairs, COLUMNS, "--json").json
    assert found["part"] == "test"
    assert 0 < found["figures"]["mrr@10"] <= 1
    other = run("evaluate", lexical, pairs, COLUMNS, "--json", "--part", "validation").json
    assert other["items"] != found["items"]
    assert f"over {found['items']} items of the test part" in run("evaluate", lexical, pairs, COLUMNS).out
    assert "unknown part 'tset'. Did you mean 'test'?" in run("evaluate", lexical, pairs, "--part", "tset").error


RECORD: dict[str, Any] = {
    "id": "stat",
    "verdict": "leans",
    "why": "the interval reaches below",
    "claim": {"says": "it is better", "metric": "mrr@10"},
    "arms": [
        {"id": "kcm", "options": {"keep": 0.7}, "figures": {"mrr@10": [0.5, 0.6, 0.7]}},
        {"id": "stat", "options": {}, "figures": {"mrr@10": [0.6, 0.7, 0.8]}},
    ],
    "checks": [{"id": "stat", "options": {"heads": False}, "figures": {"mrr@10": [0.55]}}],
    "effect": {"mean": 0.1, "low": -0.01, "high": 0.2},
}


def test_reproduce_prints_verdict_effect_and_repeats(run, monkeypatch) -> None:
    asked: dict[str, Any] = {}

    def reproduce(id: str, **settings: Any) -> dict[str, Any]:
        asked.update(id=id, **settings)
        return RECORD

    monkeypatch.setattr(module, "reproduce", reproduce)
    ran = run("reproduce", "stat", "--seeds", "3", "--first-seed", "7", "--dry-run", "--no-side", "--records", "there")
    assert ran.code == 0
    assert asked == {
        "id": "stat",
        "repeats": 3,
        "first_seed": 7,
        "retune": False,
        "timings": False,
        "side": False,
        "dry_run": True,
        "folder": "there",
        "data": None,
        "columns": None,
        "options": {},
    }
    for expected in ("stat: leans", "it is better", "kcm (keep=0.7)", "0.5000 0.6000 0.7000", "effect +0.1000"):
        assert expected in ran.out
    assert run("reproduce", "stat", "--json").json == json.loads(json.dumps(RECORD))
    assert "give at least 1" in run("reproduce", "stat", "--seeds", "0").error
    run("reproduce", "stat", "--data", "own.csv", "--columns", "query=ask")
    assert (asked["data"], asked["columns"]) == ("own.csv", {"query": "ask"})
    run("reproduce", "stat", "--data", "own.csv", "--set", "keep=0.5")
    assert asked["options"] == {"keep": 0.5}
    assert "leave out --retune" in run("reproduce", "stat", "--data", "own.csv", "--retune").error


def test_reproduce_pending(run, monkeypatch) -> None:
    found = {"stat": "holds", "gtr": "failed with exit code 2"}
    monkeypatch.setattr(module, "pending", lambda jobs, folder=None: found if jobs == 2 else {})
    ran = run("reproduce", "--pending", "--jobs", "2")
    assert ran.code == 1
    assert ran.out.splitlines() == ["stat  holds", "gtr   failed with exit code 2"]
    assert run("reproduce", "--pending").out == "Every claim has a fresh record.\n"
    assert run("reproduce", "stat", "--pending").code == 2


def test_a_baseline_has_no_claim(run) -> None:
    ran = run("reproduce", "bm25", "--dry-run")
    assert ran.code == 2
    assert "bm25 has no claim to reproduce" in ran.error
