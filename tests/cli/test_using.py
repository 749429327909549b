"""`search`, `encode`, `score`, `generate`, over one text and over many."""

from __future__ import annotations

import csv
import io
import json
import sys

import numpy as np
import pytest

from .conftest import COLUMNS


def test_search_one_query(run, lexical) -> None:
    ran = run("search", lexical, "river number 3", "-k", "2")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == 2
    assert "The river number 3 stands" in lines[0]
    found = run("search", lexical, "river number 3", "-k", "2", "--json").json
    assert found["query"] == "river number 3"
    assert [set(hit) for hit in found["hits"]] == [{"id", "score", "text"}] * 2
    assert found["hits"][0]["score"] >= found["hits"][1]["score"]


def test_search_many_queries(run, lexical, here, monkeypatch) -> None:
    (here / "queries.txt").write_text("river number 3\n\nlamp number 1\n")
    ran = run("search", lexical, "queries.txt", "-k", "1")
    assert [line for line in ran.out.splitlines() if "stands" not in line] == ["river number 3", "", "lamp number 1"]
    assert [f["query"] for f in run("search", lexical, "queries.txt", "--json").json] == [
        "river number 3",
        "lamp number 1",
    ]
    assert [f["query"] for f in run("search", lexical, "a lamp", "a river", "--json").json] == ["a lamp", "a river"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("lamp number 1\n"))
    assert "The lamp number 1" in run("search", lexical, "-", "-k", "1").out
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "standard input is empty" in run("search", lexical, "-").error


def test_search_takes_a_column_of_a_table(run, lexical, pairs, here) -> None:
    assert run("search", lexical, pairs, "--columns", "query=question", "-k", "1", "-o", "f.jsonl").code == 0
    lines = [json.loads(line) for line in (here / "f.jsonl").read_text().splitlines()]
    assert len(lines) == 40
    assert all(line["hits"][0]["rank"] == 1 for line in lines)
    assert "no column" in run("search", lexical, pairs).error


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl"])
def test_search_writes_what_the_ending_says(run, lexical, here, ending) -> None:
    ran = run("search", lexical, "lamp", "a river", "-k", "3", "-o", f"found.{ending}")
    assert ran.code == 0
    assert f"written to found.{ending}" in ran.out
    text = (here / f"found.{ending}").read_text()
    if ending in ("csv", "tsv"):
        rows = list(csv.DictReader(io.StringIO(text), delimiter="," if ending == "csv" else "\t"))
        assert [(r["query"], r["rank"]) for r in rows] == [(q, str(k)) for q in ("lamp", "a river") for k in (1, 2, 3)]
    else:
        found = json.loads(text) if ending == "json" else [json.loads(line) for line in text.splitlines()]
        assert [(f["query"], len(f["hits"])) for f in found] == [("lamp", 3), ("a river", 3)]
    assert [p.name for p in here.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("x", "-o", "found.xls"), "cannot write found.xls; use a name that ends in .jsonl, .json, .csv or .tsv"),
        (("x", "-o", "nowhere/found.csv"), "there is no folder nowhere"),
        (("queries.txt",), "there is no file or folder queries.txt"),
        (("x", "-k", "0"), "-k is 0; give at least 1"),
        (("",), "a text is empty"),
        (("x", "--documents", "nothing.csv"), "there is no file or folder nothing.csv"),
    ],
)
def test_mistakes_of_a_search(run, lexical, words, says) -> None:
    ran = run("search", lexical, *words)
    assert ran.code == 2
    assert says in ran.error
    assert ran.error.count("\n") == 1


def test_search_without_a_model_or_an_index(run, encoder) -> None:
    assert "no model at nothing" in run("search", "nothing", "x").error
    assert "no index yet" in run("search", encoder, "x").error


def test_search_among_given_documents(run, encoder, here) -> None:
    (here / "documents.csv").write_text("id,document\nfirst,the red lamp\nsecond,the blue river\n")
    found = run("search", encoder, "the red lamp", "--documents", "documents.csv", "--json").json
    assert [hit["id"] for hit in found["hits"]] == ["first", "second"]


def test_encode_gives_a_row_a_text(run, encoder, here) -> None:
    (here / "texts.txt").write_text("a lamp\na river\na lamp\n")
    ran = run("encode", encoder, "texts.txt", "-o", "x.npy")
    assert ran.out == "3 vectors of 32 numbers written to x.npy\n"
    array = np.load(here / "x.npy", allow_pickle=False)
    assert array.shape == (3, 32)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[0], array[2], atol=1e-6)
    assert abs(array[0] - array[1]).max() > 0.01
    one = run("encode", encoder, "a lamp", "--json").json
    np.testing.assert_allclose(one["vector"], array[0], atol=1e-5)
    assert run("encode", encoder, "a lamp").out.startswith("32 numbers:")
    assert run("encode", encoder, "texts.txt", "-o", "x.jsonl").code == 0
    assert json.loads((here / "x.jsonl").read_text().splitlines()[1])["text"] == "a river"


def test_score_pairs(run, encoder, pairs) -> None:
    one = run("score", encoder, "a lamp", "a lamp", "--json").json
    assert one["score"] == pytest.approx(1.0, abs=1e-5)
    many = run("score", encoder, pairs, COLUMNS, "--json").json
    assert len(many) == 40
    assert set(many[0]) == {"score", "query", "document"}
    assert "give two texts" in run("score", encoder, "a lamp").error
    assert run("score", encoder, "a lamp", "a river").out.splitlines()[0].split() == ["score", "of"]


@pytest.mark.parametrize("id", ["me-bert", "poly-encoder"])
def test_models_with_several_vectors_a_text(run, several, id, here) -> None:
    model, scores = several(id)
    ran = run("encode", model, "a lamp", "--side", "document")
    assert ran.code == 0
    assert "numbers:" in ran.out
    assert run("encode", model, "a lamp", "a river", "-o", "x.npy").code == 0
    assert np.load(here / "x.npy").shape[0] == 2
    assert run("score", model, "a lamp", "a lamp", "--json").json["score"] == pytest.approx(scores, abs=1e-5)


def test_weights_of_terms(run, several, here) -> None:
    model, scores = several("splade-plus")
    terms = run("encode", model, "a lamp", "--json").json["terms"]
    assert list(terms.values()) == sorted(terms.values(), reverse=True)
    assert f"{len(terms):,} terms:" in run("encode", model, "a lamp").out
    assert run("encode", model, "a lamp", "a river", "-o", "x.npy").code == 0
    found = np.load(here / "x.npy")
    assert (found[0] > 0).sum() == len(terms)
    assert run("score", model, "a lamp", "a lamp", "--json").json["score"] == pytest.approx(scores, rel=1e-5)


def test_score_texts(run, decoder) -> None:
    one = run("score", decoder, "a lamp", "--json").json
    assert one["bytes"] == 6
    assert one["bits_per_byte"] == pytest.approx(one["nats"] / np.log(2) / 6)
    assert len(run("score", decoder, "a lamp", "a river").out.splitlines()) == 3


def test_generate(run, decoder, here) -> None:
    words = ("generate", decoder, "a lamp", "--tokens", "8", "--temperature", "1", "--json")
    assert run(*words).json == run(*words, "--seed", "0").json
    assert run(*words).json["text"] != run(*words, "--seed", "1").json["text"]
    assert run("generate", decoder, "a lamp", "--tokens", "4").out.startswith("a lamp")
    (here / "prompts.csv").write_text("prompt\none\ntwo\n")
    assert [r["prompt"] for r in run("generate", decoder, "prompts.csv", "--tokens", "2", "--json").json] == [
        "one",
        "two",
    ]
    assert "-1 tokens cannot be added" in run("generate", decoder, "x", "--tokens", "-1").error
    words = ("generate", decoder, "x", "--tokens", "2", "--temperature", "1", "--top-p", "2")
    assert "top-p lies in (0, 1]" in run(*words).error


@pytest.mark.parametrize(
    ("verb", "model", "says"),
    [
        ("generate", "encoder", "cannot generate; use it with: twofold search or encode"),
        ("search", "decoder", "cannot search; use it with: twofold score or generate"),
        ("encode", "decoder", "cannot encode"),
    ],
)
def test_a_verb_that_the_model_lacks(run, request, verb, model, says) -> None:
    ran = run(verb, request.getfixturevalue(model), "x")
    assert ran.code == 2
    assert says in ran.error


def test_lower_precision_is_close(run, encoder) -> None:
    full = run("encode", encoder, "a lamp", "--json").json["vector"]
    half = run("encode", encoder, "a lamp", "--json", "--dtype", "bfloat16").json["vector"]
    assert full != half
    np.testing.assert_allclose(full, half, atol=0.02)
    whole = run("encode", encoder, "a lamp", "--json", "--dtype", "int8").json["vector"]
    assert full != whole
    np.testing.assert_allclose(full, whole, atol=0.05)


def test_int8_is_for_encoding(run, encoder) -> None:
    ran = run("search", encoder, "a lamp", "--dtype", "int8")
    assert ran.code == 2
    assert "unknown dtype 'int8'" in ran.error
