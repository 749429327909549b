"""What happens when a collection, its queries or its judgements are odd: each line of the table in docs/search.md."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.usefixtures("cards")
TEXTS = {"lamp": "How to light a lamp", "river": "Where the river flows", "door": "Doors open and close"}


@pytest.fixture(params=["words", "vectors"])
def model(request, encoder) -> str:
    return "bm25" if request.param == "words" else encoder


def lines(*rows: tuple[str, str]) -> str:
    return "".join(json.dumps({"id": id, "text": text}) + "\n" for id, text in rows)


@pytest.fixture
def made(run, here, model) -> str:
    (here / "texts.jsonl").write_text(lines(*TEXTS.items()))
    assert run("index", "texts.jsonl", "-m", model, "-o", "i").code == 0
    return "i"


def refused(ran, says: str) -> None:
    assert ran.code == 2
    assert says in ran.error
    assert ran.error.count("\n") == 1
    assert "Traceback" not in ran.error


def test_two_documents_with_one_id(run, here, model) -> None:
    (here / "d.jsonl").write_text(lines(("a", "a lamp"), ("b", "a river"), ("a", "a lamp")))
    ran = run("index", "d.jsonl", "-m", model, "-o", "i", "--json")
    assert ran.json["documents"] == 2
    assert "ids that come again with the same text, kept once: 1" in ran.error
    (here / "d.jsonl").write_text(lines(("a", "a lamp"), ("a", "a river")))
    refused(run("index", "d.jsonl", "-m", model, "-o", "j"), "the document id 'a' stands for two different texts")
    assert not (here / "j").exists()


def test_one_id_in_two_tables_of_a_folder(run, here) -> None:
    (here / "tables").mkdir()
    for name, text in (("a", "a lamp"), ("b", "a river")):
        (here / "tables" / f"{name}.csv").write_text(f"id,name,text,document\n1,{name},{name},{text}\n")
    refused(run("index", "tables", "-o", "i"), "the document id '1' stands for two different texts")
    (here / "tables" / "b.csv").unlink()
    for data in ("tables", "tables/a.csv"):
        assert run("index", data, "-o", "i", "--fresh").code == 0
        assert [(hit["id"], hit["text"]) for hit in run("search", "i", "lamp", "--json").json["hits"]] == [
            ("1", "a lamp")
        ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.jsonl", '{"id": "a", "text": "a lamp"}\n{"text": "a river"}\n'),
        ("d.csv", "id,text\na,a lamp\n,a river\n"),
        ("corpus.jsonl", '{"_id": "a", "text": "a lamp"}\n{"_id": null, "text": "a river"}\n'),
    ],
)
def test_a_document_without_an_id_among_those_with_one(run, here, name, text) -> None:
    (here / name).write_text(text)
    refused(run("index", name, "-o", "i"), f"{name}: document 2 ('a river') has no id; give every document its own")
    assert not (here / "i").exists()


def test_equal_documents_without_ids(run, here) -> None:
    (here / "d.csv").write_text("query,document\nlight,a lamp\nlight it,a lamp\nflow,a river\n")
    assert run("index", "d.csv", "-o", "i", "--json").json["documents"] == 2
    assert [hit["id"] for hit in run("search", "i", "lamp river", "--json").json["hits"]] == ["0", "2"]


def test_an_empty_document(run, here, model) -> None:
    (here / "d.jsonl").write_text(lines(("a", "a lamp"), ("b", " "), ("c", "a river")))
    ran = run("index", "d.jsonl", "-m", model, "-o", "i", "--json")
    assert ran.json["documents"] == 2
    assert "1 of 3 rows left out, empty 'text' in row 2" in ran.error
    (here / "d.jsonl").write_text(lines(("a", ""), ("b", " ")))
    refused(run("index", "d.jsonl", "-m", model, "-o", "j"), "each of its 2 rows has an empty 'text'")


def test_a_document_without_a_query(run, here, model) -> None:
    pairs = "".join(f"q {i},d {i}\n" for i in range(9))
    (here / "d.csv").write_text("query,document\n,a lamp\n" + pairs)
    assert run("index", "d.csv", "-m", model, "-o", "i", "--json").json["documents"] == 10
    ran = run("search", "i", "d.csv", "--json")
    assert len(ran.json) == 9
    assert "1 of 10 rows left out, empty 'query' in row 1" in ran.error
    notes = run("compare", "search", "d.csv", "--systems", "bm25", "--json").json["data"]["notes"]
    assert [note for note in notes if note.endswith("searched and not asked for: 1")]
    (here / "d.csv").write_text("query,document\n,a lamp\n,a river\n")
    for words in (("compare", "search", "d.csv", "--systems", "bm25"), ("fit", "bm25", "d.csv", "-o", "m")):
        refused(run(*words), "none of its 2 documents has a query")


def test_code_without_a_function(run, here, model) -> None:
    (here / "code").mkdir()
    (here / "code" / "names.py").write_text("LAMP = 1\n")
    (here / "code" / "broken.py").write_text("def (")
    ran = run("index", "code", "-m", model, "-o", "i")
    assert ran.code == 2
    assert ran.error.endswith(
        "the 2 Python files in code hold no function; add some, or give the files as .txt to read "
        "each as one document\n"
    )
    (here / "code" / "lamps.py").write_text("class Lamp:\n    def light(self):\n        return 1\n")
    ran = run("index", "code", "-m", model, "-o", "i", "--json")
    assert ran.json["documents"] == 1
    assert "cannot parse them: broken.py" in ran.error
    assert "no function is in them: names.py" in ran.error
    assert run("search", "i", "light", "--json").json["hits"][0]["id"] == "lamps.py:Lamp.light"
    ran = run("compare", "search", "code", "--systems", "bm25")
    assert ran.code == 2
    assert "none of its 1 documents has a query" in ran.error


def test_an_empty_query(run, here, made) -> None:
    refused(run("search", made, " "), "a text is empty")
    (here / "q.tsv").write_text("1\tlamp\n2\t \n")
    (here / "q.qrel").write_text("1 0 lamp 1\n2 0 river 1\n")
    ran = run("evaluate", made, "--queries", "q.tsv", "--qrels", "q.qrel", "--json")
    assert ran.json["queries"] == 1
    assert "judges 1 queries that q.tsv lacks; left out" in ran.error


def test_a_query_without_a_known_word(run, made, model) -> None:
    ran = run("search", made, "zzz qqq")
    assert ran.code == 0
    if model == "bm25":
        assert ran.out == "nothing in the index shares a word with it\n"
    else:
        assert len(ran.out.splitlines()) == 3  # the nearest


def test_more_results_than_documents(run, made, model) -> None:
    hits = run("search", made, "the lamp, the river and doors", "-k", "1000", "--json").json["hits"]
    assert sorted(hit["id"] for hit in hits) == sorted(TEXTS)
    refused(run("search", made, "lamp", "-k", "0"), "-k is 0; give at least 1")


def test_judgements_of_documents_that_are_not_there(run, here, made) -> None:
    (here / "q.tsv").write_text("1\tlight a lamp\n")
    (here / "q.qrel").write_text("1 0 lamp 1\n1 0 nowhere 1\n")
    ran = run("evaluate", made, "--queries", "q.tsv", "--qrels", "q.qrel", "--json")
    assert "q.qrel judges 1 documents that the index lacks; they count as not found" in ran.error
    assert ran.json["figures"]["recall@100"] == 0.5


def test_judgements_of_queries_that_are_not_asked(run, here, made) -> None:
    (here / "q.tsv").write_text("1\tlight a lamp\n")
    (here / "q.qrel").write_text("1 0 lamp 1\n9 0 river 1\n")
    ran = run("evaluate", made, "--queries", "q.tsv", "--qrels", "q.qrel", "--json")
    assert "judges 1 queries that q.tsv lacks; left out" in ran.error
    assert ran.json["queries"] == 1
    (here / "q.qrel").write_text("9 0 river 1\n")
    refused(run("evaluate", made, "--queries", "q.tsv", "--qrels", "q.qrel"), "q.qrel judges no query of q.tsv")


def test_an_index_of_another_model(run, here, made, model, encoder) -> None:
    other = "bm25" if model != "bm25" else encoder
    refused(run("search", made, "lamp", "--built-by", other), "i was built by another model")
    (here / "more.jsonl").write_text(lines(("new", "a boat")))
    refused(run("index", "more.jsonl", "-o", made, "--add", "-m", other), "i was built by another model")
    assert run("search", made, "lamp").code == 0


def test_a_damaged_index(run, here, made) -> None:
    next(here.rglob("documents.safetensors")).write_bytes(b"garbage")
    refused(run("search", made, "lamp"), "build the index again")


def test_an_image_where_texts_are_wanted(run, here, model, made) -> None:
    (here / "photo.png").write_bytes(b"not even an image")
    refused(run("index", "photo.png", "-m", model, "-o", "j"), "photo.png is of no kind that can be read")
    (here / "photos").mkdir()
    (here / "photos" / "a.png").write_bytes(b"not even an image")
    refused(run("index", "photos", "-m", model, "-o", "j"), "photos holds pictures (a.png) and no captions")
    refused(run("search", made, "photo.png"), "photo.png is of no kind that can be read")
    (here / "photos" / "b.txt").write_text("a lamp")
    assert run("index", "photos", "-m", model, "-o", "j", "--json").json["documents"] == 1
