"""Collections of BEIR, TREC and SMART files: what is read, what is left out, what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from twofold.data import collections
from twofold.data.overlap import unrelated
from twofold.errors import UserError
from twofold.tasks import task
from twofold.tasks.search import LexicalModel, from_collection

TEXTS = {f"d{i}": f"{word} stands in room {i}" for i, word in enumerate(("lamp", "river", "engine", "garden") * 6)}


def beir(folder: Path, judged: dict[str, str]) -> Path:
    folder.mkdir()
    corpus = [{"_id": id, "title": f"about {id}", "text": text} for id, text in TEXTS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    asked = [{"_id": f"q{i}", "text": f"where is {text}"} for i, text in enumerate(TEXTS.values())]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, asked)))
    (folder / "qrels").mkdir()
    for name, lines in judged.items():
        (folder / "qrels" / name).write_text("query-id\tcorpus-id\tscore\n" + lines)
    return folder


def judgements(numbers: range) -> str:
    return "".join(f"q{i}\td{i}\t{1 + i % 2}\n" for i in numbers)


def test_beir_keeps_its_parts_and_every_query_searches_everything(tmp_path: Path) -> None:
    judged = {
        "train.tsv": judgements(range(12)),
        "dev.tsv": judgements(range(12, 16)),
        "test.tsv": judgements(range(16, 24)),
    }
    data = task("search").read(str(beir(tmp_path / "b", judged)))
    assert [len(data.asked(part)) for part in ("train", "validation", "test")] == [12, 4, 8]
    assert all(len(data.pool(part)) == 24 for part in ("train", "validation", "test"))
    assert data.documents[3] == "about d3\ngarden stands in room 3"
    first = data.asked("test")[0]
    assert (data.queries[first], data.relevant[first]) == ("where is lamp stands in room 16", {16: 1})
    assert set(data.pairs[:, 0]) == set(data.asked("train"))
    assert task("search").evaluate(LexicalModel(None, None, {}), data).figures["mrr@10"] == 1.0


def test_one_file_of_judgements_is_split_by_query(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", {"test.tsv": judgements(range(24))})
    data = task("search").read(folder)
    assert sum(len(data.asked(part)) for part in ("train", "validation", "test")) == 24
    assert min(len(data.asked(part)) for part in ("train", "validation", "test")) >= 1
    assert any("split by their text" in note for note in data.notes)
    few = task("search").cut(data, 0.9)
    assert len(few.documents) == 22
    assert all(len(few.pool(part)) == 22 for part in ("train", "test"))


@pytest.mark.parametrize("between", ["\t", "\t0\t"])
def test_ids_that_hold_blanks_are_judged_between_tabs(tmp_path: Path, between: str) -> None:
    file = tmp_path / "qrels.tsv"
    file.write_text(f"query-id\tcorpus-id\tscore\nq 1{between}my notes.md\t2\nq2 0 lamps.md 1 \t\n")
    assert collections.read_qrels(file) == {"q 1": {"my notes.md": 2}, "q2": {"lamps.md": 1}}


def test_tabs_among_the_blanks_of_smart_judgements(tmp_path: Path) -> None:
    (tmp_path / "CISI.REL").write_text("     1     28\t0\t0.000000\n")
    assert collections.read_qrels(tmp_path / "CISI.REL") == {"1": {"28": 1}}


def test_what_lies_beside_the_judgements_is_none(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", {"train.tsv": judgements(range(12)), "test.tsv": judgements(range(12, 24))})
    expected = collections.read_collection(folder)
    for name in (".DS_Store", "README.md", "README.txt", "._test.tsv"):
        (folder / "qrels" / name).write_text("1 2\n")
    for name in (".ipynb_checkpoints", "old.tsv"):
        (folder / "qrels" / name).mkdir()
    assert collections.read_collection(folder) == expected


def test_test_queries_are_not_trained_on_where_no_train_judgements_are(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", {"dev.tsv": judgements(range(14)), "test.tsv": judgements(range(14, 24))})
    found, data = collections.read_collection(folder), task("search").read(folder)
    parts = dict(zip(data.queries, data.query_parts, strict=True))
    named = {found.queries[id]: part for id, part in found.parts.items()}
    assert {parts[text] for text, part in named.items() if part == "test"} == {"test"}
    assert {parts[text] for text, part in named.items() if part == "validation"} == {"train", "validation"}
    assert any("queries to train on are taken from the validation part" in note for note in data.notes)


def test_a_query_in_two_parts_is_refused(tmp_path: Path) -> None:
    folder = beir(tmp_path / "b", {"train.tsv": judgements(range(9)), "test.tsv": judgements(range(8, 20))})
    with pytest.raises(UserError, match=r"'q8'.*keep it in one part"):
        collections.read_collection(folder)


def trec(folder: Path) -> Path:
    folder.mkdir()
    documents = [
        "<DOC>\n<DOCNO> A-1 </DOCNO>\n<TITLE>Lamps</TITLE>\n<TEXT>Lamps\nburn &amp; shine</TEXT>\n</DOC>",
        "<doc><docno>A-2</docno><author>x, y</author><title>Rivers</title><text>They <b>flow</b>.</text></doc>",
        "<doc><docno>A-3</docno>An <i>engine</i> runs</doc>",
        "<doc><docno>A-4</docno><text> </text></doc>",
    ]
    (folder / "docs.xml.gz").write_bytes(gzip.compress("\n".join(documents).encode()))
    (folder / "topics.txt").write_text(
        "<top>\n<num> Number: 301\n<title> what burns\n<desc> Description:\nthings\n</top>\n"
        "<top>\n<num> Number: 302 </num>\n<title></title>\n<desc> Description:\nwhat flows\n</top>\n"
    )
    (folder / "qrels.txt").write_text("301 0 A-1 2\n301 0 A-1 1\n302 0 A-2 1\n302 0 A-1 0\n302 0 A-9 1\n999 0 A-1 1\n")
    return folder


def test_trec_documents_topics_and_judgements(tmp_path: Path) -> None:
    found = collections.read_collection(trec(tmp_path / "t"))
    assert found.documents == {"A-1": "Lamps\nburn & shine", "A-2": "Rivers\nThey  flow .", "A-3": "An  engine  runs"}
    assert found.queries == {"301": "what burns", "302": "what flows"}
    assert found.judgements == {"301": {"A-1": 2}, "302": {"A-2": 1, "A-1": 0}}
    assert [note.partition(":")[0] for note in found.notes] == [
        "texts that are empty, left out",
        "judgements of unknown queries, left out",
        "judgements of unknown documents, left out",
    ]
    folder = tmp_path / "t"
    (folder / "topics.txt").unlink()
    (folder / "queries.tsv").write_text("qid\ttext\n301\twhat burns\n302\twhat flows\n")
    assert collections.read_collection(folder).queries == found.queries
    (folder / "queries.tsv").write_text("qid\ttext\n301 what burns\n")
    with pytest.raises(UserError, match="line 2: no tab"):
        collections.read_collection(folder)


def test_rivals_are_what_was_judged_not_to_answer(tmp_path: Path) -> None:
    folder = trec(tmp_path / "t")
    (folder / "queries.tsv").write_text("301\twhat burns\n302\twhat flows\n303\twhat runs\n")
    (folder / "topics.txt").unlink()
    (folder / "qrels.txt").write_text("301 0 A-1 2\n302 0 A-2 1\n302 0 A-1 0\n303 0 A-3 1\n")
    data = from_collection(collections.read_collection(folder))
    assert data.rivals[data.queries.index("what flows")] == (data.document_ids.index("A-1"),)


SMART = ".I 1\n.T\nLamps\n.A\nx, y\n.W\nthey burn\n.X\n1\t2\t3\n.I 2\n.T\nRivers\n.W\nRivers flow\nfar\n"


def smart(folder: Path, asked: list[int], judged: list[int]) -> Path:
    folder.mkdir()
    (folder / "SET.ALL").write_text(SMART)
    (folder / "SET.QRY").write_text("".join(f".I {n}\n.W\nquestion {n}\n" for n in asked))
    (folder / "SET.REL").write_text("".join(f"   {n}   {1 + n % 2}  0  0.000000\n" for n in judged))
    return folder


def test_smart_records(tmp_path: Path) -> None:
    found = collections.read_collection(smart(tmp_path / "s", [1, 2, 3], [1, 2]))
    assert found.documents == {"1": "Lamps\nthey burn", "2": "Rivers flow\nfar"}
    assert found.queries["3"] == "question 3"
    assert found.judgements == {"1": {"2": 1}, "2": {"1": 1}}


def test_judgements_that_count_the_queries_as_those_of_cranfield_do(tmp_path: Path) -> None:
    found = collections.read_collection(smart(tmp_path / "s", [1, 2, 4, 8], [1, 2, 3, 4]))
    assert found.judgements == {"1": {"2": 1}, "2": {"1": 1}, "4": {"2": 1}, "8": {"1": 1}}
    assert "judgements count the queries: number 4 is the last one, which is called 8" in found.notes
    other = collections.read_collection(smart(tmp_path / "o", [1, 2, 4, 8], [1, 2, 4]))
    assert set(other.judgements) == {"1", "2", "4"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("docs.xml", "<doc><docno>1</docno>a</doc><doc><docno>1</docno>b</doc>", "'1' stands for two different texts"),
        ("docs.xml", "<doc><docno>1</docno>a</doc><doc>b</doc>", "document 2 has no <docno>"),
        ("docs.xml", "<doc><docno>1</docno> </doc>", "no document with a text"),
        ("qrels.txt", "1 0 a 1\n1 0 b good\n", "line 2: grade 'good' is no whole number"),
        ("qrels.txt", "1 0 a 1\n1 0 b 0.5\n", "line 2: grade '0.5' is no whole number"),
        ("qrels.txt", "301 0 A-1 0\n", "no query has an answer"),
        ("qrels.txt", "1 0 a 1 7\n", "line 1: 5 columns"),
        ("qrels.txt", "7 0 7 1\n", "no judgement names both"),
        ("qrels.txt", "", "qrels.txt is empty"),
        ("topics.txt", "<top><title>x</title></top>", "topic 1 has no <num>"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    folder = trec(tmp_path / "t")
    (folder / "docs.xml.gz").unlink()
    (folder / "docs.xml").write_text("<doc><docno>A-1</docno>Lamps</doc>")
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=says):
        collections.read_collection(folder)


def test_a_collection_without_judgements_says_what_is_missing(tmp_path: Path) -> None:
    folder = trec(tmp_path / "t")
    (folder / "qrels.txt").unlink()
    with pytest.raises(UserError, match="no judgements; add"):
        task("search").read(folder)
    assert collections.find(tmp_path) is None


def test_judgements_of_other_queries_are_noticed() -> None:
    documents = {f"d{i}": f"a text about matter{i} and the colour{i} of it" for i in range(12)}
    queries = {f"q{i}": f"what is the colour{i} of matter{i}" for i in range(12)}
    right = {f"q{i}": {f"d{i}": 1} for i in range(12)}
    wrong = {f"q{i}": {f"d{(i + 5) % 12}": 1} for i in range(12)}
    assert unrelated(right, queries, documents) is None
    assert "do both files mean the same ids?" in str(unrelated(wrong, queries, documents))
    assert unrelated(dict(list(wrong.items())[:9]), queries, documents) is None  # too few to tell
