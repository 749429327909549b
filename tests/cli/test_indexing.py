"""`index`, and what is searched and measured then."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("cards")


@pytest.fixture
def notes(here) -> str:
    (here / "notes").mkdir()
    for name, text in {
        "lamp.md": "How to light a lamp",
        "river.md": "Where the river flows",
        "door.txt": "Doors",
    }.items():
        (here / "notes" / name).write_text(text)
    return "notes"


def test_documents_are_indexed_searched_added_and_removed(run, notes, here) -> None:
    ran = run("index", notes, "-o", "i")
    assert ran.code == 0, ran.error
    assert ran.out.startswith("i: 3 documents, indexed by bm25, ")
    assert "How to light a lamp" in run("search", "i", "a lamp").out
    (here / "more.jsonl").write_text('{"id": "lamp.md", "text": "Lamps are blue"}\n{"id": "new", "text": "a boat"}')
    assert run("index", "more.jsonl", "-o", "i", "--add", "--json").json["documents"] == 4
    assert [hit["text"] for hit in run("search", "i", "lamp", "--json").json["hits"]] == ["Lamps are blue"]
    assert run("index", "-o", "i", "--remove", "new,door.txt", "--json").json["documents"] == 2
    ran = run("search", "i", "boat")
    assert ran.out == "nothing in the index shares a word with it\n"


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_every_query_is_written_with_what_was_found(run, notes, here, ending) -> None:
    run("index", notes, "-o", "i")
    asked = ("boat", "river", "lamp", "river")
    ran = run("search", "i", *asked, "-o", f"f.{ending}")
    assert ran.out == f"4 rows written to f.{ending}\n"
    text = (here / f"f.{ending}").read_text()
    rows = json.loads(text) if ending == "json" else [json.loads(line) for line in text.splitlines()]
    shown = run("search", "i", *asked, "--json").json
    assert [row["query"] for row in rows] == [*asked]
    assert [[hit.pop("rank") for hit in row["hits"]] for row in rows] == [[], [1], [1], [1]]
    assert rows == shown


@pytest.mark.parametrize(("ending", "between"), [("csv", ","), ("tsv", "\t")])
def test_a_table_of_nothing_found_has_its_line_of_names(run, notes, here, ending, between) -> None:
    run("index", notes, "-o", "i")
    assert run("search", "i", "boat", "-o", f"f.{ending}").code == 0
    assert (here / f"f.{ending}").read_text() == between.join(("query", "rank", "id", "score", "text")) + "\n"


def test_queries_and_ids_may_be_longer_than_a_files_name(run, notes, here) -> None:
    run("index", notes, "-o", "i")
    found = run("search", "i", "lamp " * 100, "--json").json["hits"]
    assert [hit["id"] for hit in found] == ["lamp.md"]
    ids = ",".join(f"a-document-that-is-not-there-{number}" for number in range(20))
    assert "holds no document a-document" in run("index", "-o", "i", "--remove", ids).error
    (here / "gone.txt").write_bytes(b"lamp.md\nfl\xfcss\n")
    assert "gone.txt is not UTF-8: line 2, byte 3" in run("index", "-o", "i", "--remove", "gone.txt").error


def test_rows_without_ids_do_not_take_the_places_of_others(run, here) -> None:
    (here / "one.csv").write_text("text\na lamp\na river\n")
    (here / "two.csv").write_text("text,key\na boat,x\na door,y\n")
    assert run("index", "one.csv", "-o", "i").code == 0
    ran = run("index", "two.csv", "-o", "i", "--add")
    assert ran.code == 2
    assert "two.csv has no column 'id'" in ran.error
    assert "i holds 2 documents of such names" in ran.error
    assert ran.error.count("\n") == 1
    assert run("index", "two.csv", "-o", "i", "--add", "--columns", "id=key", "--json").json["documents"] == 4


def test_a_model_reranks_what_another_found(run, notes, encoder) -> None:
    run("index", notes, "-o", "words")
    assert run("index", notes, "-m", encoder, "-o", "meanings").code == 0
    plain = run("search", "meanings", "the river", "--json").json["hits"]
    assert len(plain) == 3
    again = run("search", "words", "the river lamp", "--rerank", encoder, "--json").json["hits"]
    assert {hit["id"] for hit in again} == {"river.md", "lamp.md"}
    scores = {hit["id"]: hit["score"] for hit in run("search", "meanings", "the river lamp", "--json").json["hits"]}
    assert all(hit["score"] == pytest.approx(scores[hit["id"]], abs=1e-5) for hit in again)
    assert "--shortlist is 0" in run("search", "words", "x", "--rerank", encoder, "--shortlist", "0").error


def test_a_graph_is_built_beside_the_vectors(run, notes, encoder, here) -> None:
    pytest.importorskip("faiss")
    ran = run("index", notes, "-m", encoder, "-o", "i", "--engine", "faiss")
    assert ran.code == 0, ran.error
    assert ran.out.endswith(" --engine faiss\n")
    assert run("index", "-o", "i", "--remove", "door.txt", "--json").json["engine"] == "faiss"
    plain = run("search", "i", "the river", "--json").json["hits"]
    assert plain == run("search", "i", "the river", "--engine", "faiss", "--json").json["hits"]
    (here / "q.tsv").write_text("1\tlamp\n2\triver\n")
    (here / "q.qrel").write_text("1 0 lamp.md 1\n2 0 river.md 1\n")
    asked = ("evaluate", "i", "--queries", "q.tsv", "--qrels", "q.qrel", "--json")
    assert run(*asked).json == run(*asked, "--engine", "faiss").json


def test_an_index_in_qdrant_takes_the_same_calls(run, notes, encoder, here) -> None:
    pytest.importorskip("qdrant_client")
    there = ("--engine", "qdrant:store")  # embedded; a server's address goes the same way
    ran = run("index", notes, "-m", encoder, "-o", "docs/", *there)
    assert ran.code == 0, ran.error
    assert ran.out.startswith("docs/: 3 documents, indexed by encoder\n")
    assert "--fresh" in run("index", notes, "-m", encoder, "-o", "docs", *there).error
    (here / "more.jsonl").write_text('{"id": "lamp.md", "text": "Lamps are blue"}\n{"id": "new", "text": "a boat"}')
    assert run("index", "more.jsonl", "-o", "docs", "--add", "--json", *there).json["documents"] == 4
    assert run("index", "-o", "docs", "--remove", "new", "--json", *there).json["documents"] == 3
    assert "holds no document new" in run("index", "-o", "docs", "--remove", "new", *there).error
    (here / "words.jsonl").write_text(
        '{"id": "lamp.md", "text": "Lamps are blue"}\n{"id": "river.md", "text": "Where the river flows"}\n'
        '{"id": "door.txt", "text": "Doors"}'
    )
    run("index", "words.jsonl", "-m", encoder, "-o", "folder")
    found = [
        run("search", *asked, "--json").json["hits"] for asked in (("docs", "a lamp", *there), ("folder", "a lamp"))
    ]
    assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in found[1]]
    (here / "q.tsv").write_text("1\tlamp\n2\triver\n")
    (here / "q.qrel").write_text("1 0 lamp.md 1\n2 0 river.md 1\n")
    asked = ("--queries", "q.tsv", "--qrels", "q.qrel", "--json", "--rerank", encoder)
    assert run("evaluate", "docs", *asked, *there).json == run("evaluate", "folder", *asked).json
    assert "built by another model" in run("search", "docs", "x", *there, "--built-by", "bm25").error


def test_an_index_is_measured(run, notes, here, lexical) -> None:
    run("index", notes, "-o", "i")
    (here / "q.tsv").write_text("1\tlamp\n2\triver\n")
    (here / "q.qrel").write_text("1 0 lamp.md 1\n2 0 door.txt 1\n")
    found = run("evaluate", "i", "--queries", "q.tsv", "--qrels", "q.qrel", "--run", "r.txt", "--json").json
    assert found["queries"] == 2
    assert found["figures"]["mrr@10"] == 0.5
    assert (here / "r.txt").read_text().splitlines()[0] == "1 Q0 lamp.md 1 1 twofold"
    assert "over 2 queries of q.tsv" in run("evaluate", "i", "--queries", "q.tsv", "--qrels", "q.qrel").out
    (here / "p.qrel").write_text("1 0 d1 1\n")
    assert run("evaluate", lexical, "--queries", "q.tsv", "--qrels", "p.qrel", "--json").code == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("index", "-o", "i"), "there is nothing to index"),
        (("index", "nothing/", "-o", "i"), "there is no file or folder nothing"),
        (("index", "notes", "-o", "i", "-m", "nothing"), "no model at nothing"),
        (("index", "notes", "-o", "i", "-m", "decoder"), "decoder is a model for language, which cannot rank"),
        (("index", "notes", "-o", "there"), "holds an index already"),
        (("index", "notes", "-o", "there", "--add", "--fresh"), "leave out --add and --remove"),
        (("index", "notes", "-o", "encoder"), "holds something that is not an index"),
        (("index", "-o", "there", "--remove", "zz"), "holds no document zz"),
        (("index", "notes", "-o", "there", "--add", "-m", "encoder"), "was built by another model"),
        (("search", "there", "x", "--built-by", "encoder"), "was built by another model"),
        (("index", "notes", "-o", "i", "--engine", "fais"), "unknown engine 'fais'. Did you mean 'faiss'?"),
        (("index", "notes", "-o", "i", "--engine", "faiss"), "searches by an inverted index"),
        (("search", "there", "x", "--engine", "faiss"), "was built for --engine exact"),
        (("search", "encoder", "x", "--engine", "faiss"), "--engine is that of an index"),
        (("search", "docs", "x", "--engine", "qdrant://127.0.0.1:1"), "nothing answers at qdrant://127.0.0.1:1"),
        (("index", "notes", "-o", "a/b", "-m", "encoder", "--engine", "qdrant:s"), "a name instead of a folder"),
        (("index", "notes", "-o", "i", "--engine", "qdrant:s"), "bm25 has no vectors that Qdrant could compare"),
        (("evaluate", "there", "--engine", "exact"), "--engine is that of an index"),
        (("search", "there", "x", "--documents", "notes"), "--documents is for models"),
        (("search", "there", " "), "a text is empty"),
        (("evaluate", "there"), "there is an index; measure it with --queries and --qrels"),
        (("evaluate", "there", "--queries", "q.tsv"), "give both --queries and --qrels"),
        (("evaluate", "encoder", "--queries", "q.tsv", "--qrels", "q.tsv"), "has no index"),
    ],
)
def test_mistakes(run, notes, encoder, decoder, words, says) -> None:
    run("index", notes, "-o", "there")
    ran = run(*words)
    assert ran.code == 2
    assert says in ran.error
    assert ran.error.count("\n") == 1


def test_a_collection_is_indexed_by_its_documents(run, here) -> None:
    (here / "set").mkdir()
    corpus = [{"_id": f"d{i}", "title": "", "text": f"lamp {i}"} for i in range(5)]
    (here / "set" / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    assert run("index", "set", "-o", "i", "--json").json["documents"] == 5
