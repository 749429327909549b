"""Indexes in Qdrant, by the client's embedded mode: they find what indexes in folders find."""

from __future__ import annotations

import itertools
import sys

import pytest
import torch

import twofold
from tests.tasks.test_stored_index import QUERIES, TEXTS, many_vectors, sparse
from twofold.data import Rows
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import FirstM, MaxOverVectors, Mean, TextEncoder, TwoTowers, presets
from twofold.tasks.examples import small_model
from twofold.tasks.search import EncoderModel
from twofold.tasks.search.qdrant import QdrantIndex, _client, names
from twofold.tasks.search.stored import StoredIndex

pytest.importorskip("qdrant_client")

ENGINE = "qdrant::memory:"
NUMBERS = itertools.count()


def documents_of_several() -> EncoderModel:
    """A document keeps three vectors, a query one; the nearest of the three counts."""
    torch.manual_seed(2)
    towers = [
        TextEncoder(presets.encoder(vocab=ByteTokenizer().vocab_size, dim=32, layers=1, heads=4, max_len=64), pool)
        for pool in (Mean(), FirstM(3))
    ]
    spec = {"query_tokens": 32, "document_tokens": 64}
    return EncoderModel(TwoTowers(*towers, MaxOverVectors()).eval(), ByteTokenizer(), spec)


KINDS = {"dense": small_model, "queries": many_vectors, "documents": documents_of_several, "sparse": sparse}


@pytest.fixture
def name() -> str:
    return f"notes-{next(NUMBERS)}"


def whole(index):
    """What every query finds, by id: equal scores may come in any order."""
    return [
        sorted((hit.id, pytest.approx(hit.score, abs=1e-4), hit.text) for hit in hits)
        for hits in index.search(QUERIES, 40)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_finds_what_an_index_in_a_folder_finds(kind, name, tmp_path) -> None:
    model = KINDS[kind]()
    there = QdrantIndex.create(ENGINE, name, TEXTS, model, "")
    here = StoredIndex.create(tmp_path / "i", TEXTS, model, "")
    assert len(there) == len(here) == 40
    assert whole(there) == whole(here)
    for found, wanted in zip(there.search(QUERIES, 5), here.search(QUERIES, 5), strict=True):
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-4)
    assert sorted(there.documents()) == sorted(here.documents())
    assert QdrantIndex.open(ENGINE, name, model).search(QUERIES[0], 3) == there.search(QUERIES[0], 3)
    assert len(there.search(QUERIES[0], 99)) == len(here.search(QUERIES[0], 99))  # k larger than the collection


@pytest.mark.parametrize("kind", KINDS)
def test_adding_and_removing_equal_building_anew(kind, name, tmp_path) -> None:
    model = KINDS[kind]()
    first, later = dict(list(TEXTS.items())[:25]), dict(list(TEXTS.items())[25:])
    index = QdrantIndex.create(ENGINE, name, first | {"doc-30": "something else"}, model, "")
    assert index.add(later) == 1  # doc-30 takes the other's place
    index.remove(["doc-3", "doc-33"])
    kept = {id: text for id, text in TEXTS.items() if id not in ("doc-3", "doc-33")}
    assert len(index) == 38
    assert "doc-3" not in index
    assert "doc-4" in index
    assert whole(index) == whole(StoredIndex.create(tmp_path / "i", kept, model, ""))


def test_many_are_sent_in_several_messages(name, monkeypatch) -> None:
    from twofold.tasks.search import qdrant

    for size in ("_ENCODED", "_SENT", "_ASKED"):
        monkeypatch.setattr(qdrant, size, 7)
    index = QdrantIndex.create(ENGINE, name, TEXTS, small_model(), "")
    assert sorted(index.documents()) == sorted(TEXTS.items())
    assert index.missing(["zz", *TEXTS, "yy"]) == ["zz", "yy"]
    assert all(len(hits) == 4 for hits in index.search(QUERIES, 4))


def test_reranking_is_the_same(name, tmp_path) -> None:
    reader = small_model(seed=3)
    there = QdrantIndex.create(ENGINE, name, TEXTS, small_model(), "")
    here = StoredIndex.create(tmp_path / "i", TEXTS, small_model(), "")
    found = [index.search("paint the red lamp", 12, rerank=reader, shortlist=6) for index in (there, here)]
    assert [h.score for h in found[0]] == pytest.approx([h.score for h in found[1]], abs=1e-4)


def test_a_query_without_a_known_term_finds_nothing(name) -> None:
    model = sparse()
    index = QdrantIndex.create(ENGINE, name, TEXTS, model, "")
    with torch.no_grad():
        model.net.model.head.bias.fill_(-1e4)  # no term is left of any query
    assert index.search("lamp", 3) == []
    with pytest.raises(UserError, match="a query is empty"):
        index.search(" ")


def test_an_index_built_again_takes_the_name_at_once(name, monkeypatch) -> None:
    model = small_model()
    QdrantIndex.create(ENGINE, name, {"a": "one"}, model, "")
    client = _client(ENGINE)
    before = {each.name for each in client.get_collections().collections}

    def fails(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(QdrantIndex, "_take_name", fails)
        with pytest.raises(KeyboardInterrupt):
            QdrantIndex.create(ENGINE, name, {"b": "two"}, model, "", fresh=True)
    assert list(QdrantIndex.open(ENGINE, name, model).documents()) == [("a", "one")]
    assert {each.name for each in client.get_collections().collections} == before
    QdrantIndex.create(ENGINE, name, {"b": "two"}, model, "", fresh=True)
    assert list(QdrantIndex.open(ENGINE, name, model).documents()) == [("b", "two")]
    assert len(client.get_collections().collections) == len(before)


def test_mistakes(name, tmp_path, monkeypatch) -> None:
    model = small_model()
    QdrantIndex.create(ENGINE, name, TEXTS, model, "")
    _client(ENGINE).create_collection(f"{name}-other", vectors_config={})
    for says, call in {
        r"is an index already; add to it with --add, replace it with --fresh": lambda: QdrantIndex.create(
            ENGINE, name, TEXTS, model, ""
        ),
        r"holds a collection .*-other that is no index": lambda: QdrantIndex.create(
            ENGINE, f"{name}-other", TEXTS, model, ""
        ),
        r"there is no index nothing in .*; build one with": lambda: QdrantIndex.open(ENGINE, "nothing", model),
        r"a name instead of a folder": lambda: QdrantIndex.open(ENGINE, "out/notes", model),
        r"was built by another model .* --fresh": lambda: QdrantIndex.open(ENGINE, name, small_model(seed=9)),
        r"was never saved; open the index with that model": lambda: QdrantIndex.open(ENGINE, name),
        r"bm25 has no vectors that Qdrant could compare; leave --engine out": lambda: twofold.index(
            Rows.of({"text": ["a"]}), None, "words", engine=ENGINE
        ),
        r"the document a is an empty text": lambda: QdrantIndex.create(ENGINE, "e", {"a": " "}, model, ""),
        r"there are no documents": lambda: QdrantIndex.create(ENGINE, "e", {}, model, ""),
        r"holds no document zz": lambda: QdrantIndex.open(ENGINE, name, model).remove(["zz"]),
        r"leave nothing": lambda: QdrantIndex.open(ENGINE, name, model).remove(list(TEXTS)),
        r"nothing answers at qdrant://127\.0\.0\.1:1 .* start Qdrant there": lambda: QdrantIndex.open(
            "qdrant://127.0.0.1:1", name, model
        ),
        r"unknown engine 'qdrant//x'": lambda: twofold.open_index("x", engine="qdrant//x"),
    }.items():
        with pytest.raises(UserError, match=says):
            call()
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(UserError, match=r"pip install 'twofold\[qdrant\]'"):
        QdrantIndex.open(f"qdrant:{tmp_path / 'new'}", name, model)


def test_addresses() -> None:
    for good in ("qdrant://localhost:6333", "qdrant://10.0.0.2", "qdrant+https://x.example.org:443", "qdrant:folder"):
        assert names(good)
    for bad in ("qdrant", "qdrant:", "qdrant://", "qdrant://a:b", "http://localhost", "faiss"):
        assert not names(bad)
    assert names("qdrant://[::1]:6333")


def test_the_model_is_found_where_it_was(tmp_path, name) -> None:
    small_model().save(tmp_path / "model")
    rows = Rows.of({"id": ["a", "b"], "text": ["a lamp", "a river"]})
    index = twofold.index(rows, tmp_path / "model", name, engine=ENGINE)
    assert index.facts() == {"documents": 2, "engine": ENGINE}
    assert index.built_by == "model"
    again = twofold.open_index(name, engine=ENGINE)
    assert {hit.id for hit in again.search("lamp", 5)} == {"a", "b"}
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"cannot be opened .* say where it is with -m"):
        twofold.open_index(name, engine=ENGINE)
    assert len(twofold.open_index(name, tmp_path / "moved", engine=ENGINE)) == 2


def test_ports_and_folders_that_cannot_be_are_refused(tmp_path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}")
    for engine, says in (
        ("qdrant://localhost:99999", "99999 is no port"),
        (f"qdrant:{tmp_path / 'pairs.jsonl'}", "is a file"),
    ):
        with pytest.raises(UserError, match=says):
            QdrantIndex.open(engine, "x", small_model())
