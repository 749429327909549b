"""`list`, `find`, `show`, `cite`."""

from __future__ import annotations

import pytest

from twofold import api
from twofold.cli.looking import allowed

pytestmark = pytest.mark.usefixtures("cards")


def test_list_is_a_table_by_family(run) -> None:
    ran = run("list")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "baselines"
    assert lines[1].split()[:3] == ["bm25", "model", "search"]
    assert lines[3] == "compression"
    assert lines[4].split()[:5] == ["stat", "transform", "search,", "language", "holds"]
    assert lines[-1] == "2 systems. twofold show ID says more."


def test_list_keeps_what_is_asked_for(run) -> None:
    assert [c["id"] for c in run("list", "--json").json] == ["bm25", "stat"]
    assert [c["id"] for c in run("list", "--json", "--kind", "transform").json] == ["stat"]
    assert [c["id"] for c in run("list", "--json", "--task", "language").json] == ["stat"]
    assert [c["id"] for c in run("list", "--json", "--family", "baselines").json] == ["bm25"]
    ran = run("list", "--task", "serch")
    assert ran.code == 2
    assert "unknown task 'serch'. Did you mean 'search'?" in ran.error


def test_list_of_backbones_says_how_they_are_written(run) -> None:
    ran = run("list", "--backbones")
    assert ran.code == 0
    assert "mixers, with layers x width: ssd-2x128" in ran.out
    assert {"ssd", "modernbert", "tiny-encoder", "minilm"} <= {line.split()[0] for line in ran.out.splitlines() if line}
    kinds = {each["kind"] for each in run("list", "--backbones", "--json").json}
    assert kinds == {"mixer", "preset", "reference", "checkpoint"}, "the register of these tests has no mixers' system"
    assert run("list", "--backbones", "--task", "search").code == 2


def test_find_ranks_by_words(run) -> None:
    assert [c["id"] for c in run("find", "shrinking", "a", "BERT", "--json").json] == ["stat"]
    assert run("find", "keyword search", "--limit", "1").out.split()[0] == "bm25"
    ran = run("find", "zzz")
    assert ran.code == 0
    assert "Nothing matches" in ran.out
    assert run("find", " ").code == 2


def test_find_by_meaning_says_what_it_needs(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    ran = run("find", "make it small", "--semantic")
    assert ran.code == 2
    assert "twofold pull minilm" in ran.error


def test_find_by_meaning_ranks_by_the_cosine(run, monkeypatch) -> None:
    import torch

    from twofold import tasks
    from twofold.tasks.search.vectors import Dense

    class Meaning:
        """Texts on neurons point one way, all others the other."""

        def encode(self, texts, side="document"):
            return Dense(torch.tensor([[1.0, 0.0] if "neurons" in t else [0.6, 0.8] for t in texts]))

    monkeypatch.setattr(tasks, "load", lambda name: Meaning())
    found = run("find", "fewer neurons", "--semantic", "--json").json
    assert [(c["id"], c["score"]) for c in found] == [("stat", 1.0), ("bm25", 0.6)]


def test_show_is_the_whole_card(run) -> None:
    out = run("show", "stat").out
    for expected in (
        "stat [100]  Cuts neurons and heads",
        "Shrinking Transformers After Training (2024)",
        "https://arxiv.org/abs/2406.00061",
        "transform for search, language; family compression",
        "keep   0.7      number above 0, up to 1  share",
        "heads  true     true or false            cut heads too",
        "Claim: holds",
        "kcm (keep=0.7)",
        "mrr@10 on pycode (higher is better), by at least 0.03",
        "3, one a sample",
        "300 steps",
        "shrink a BERT without labels",
        "nothing is approximated",
        "twofold apply stat model/ my.jsonl -o changed/",
    ):
        assert expected in out
    assert run("show", "stat", "--json").json["verdict"] == "holds"


def test_show_of_the_beginning_of_a_name_suggests_the_whole_of_it(run) -> None:
    shown = run("show", "strided")
    assert shown.code == 2
    assert "Did you mean 'strided-attention'?" in shown.error


def test_show_lists_kinds_as_a_sentence_does(run, monkeypatch) -> None:
    card = {**api.show("stat"), "kind": "model", "also": ["transform", "study"]}
    monkeypatch.setattr(api, "show", lambda system: card)
    assert "\nmodel, transform and study for search, language; family compression\n" in run("show", "stat").out


def test_show_knows_a_persons_own(run, own) -> None:
    out = run("show", f"{own}:Pocket").out
    assert "pocket  A model that is trained in no time" in out
    assert "number above 0, below 10" in out
    assert "family own" in out
    assert "Claim" not in out
    ran = run("show", f"{own}:Nothing")
    assert ran.code == 2
    assert "has no registered system 'Nothing'" in ran.error


def test_cite(run) -> None:
    out = run("cite", "stat").out
    assert out.startswith("@misc{stat2024,\n")
    assert "  title = {{STAT: Shrinking Transformers After Training}},\n" in out
    assert "  eprint = {2406.00061},\n" in out
    assert out.endswith("}\n")
    ran = run("cite", "stat", "bm25")
    assert ran.code == 2
    assert "bm25 names no source" in ran.error


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 2, "maximum": 9}, "whole number 2 to 9"),
        ({"type": "integer", "minimum": 2}, "whole number from 2"),
        ({"type": "number", "exclusiveMinimum": 0}, "number above 0"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "true or false"),
        ({"enum": ["a", "b", "c"]}, "a, b or c"),
        ({"const": "a"}, "a"),
        ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "whole number from 1 or none"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "list of a or b"),
        ({"type": "array", "prefixItems": []}, "list"),
        ({"type": "object"}, "settings"),
        ({}, "any"),
    ],
)
def test_what_is_allowed_in_words(schema, words) -> None:
    assert allowed(schema) == words
