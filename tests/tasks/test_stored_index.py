"""Indexes in folders: what they find, how they change, and that they are never half-written."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import bm25s
import ir_measures
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_matrix

import twofold
from twofold.data import Rows
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.parts import CandidateAttention, FirstM, Mean, TextEncoder, TwoTowers, presets
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.search import EncoderModel, LexicalModel, lexical, segments
from twofold.tasks.search import stored as module
from twofold.tasks.search.index import InvertedIndex
from twofold.tasks.search.passages import TermStore
from twofold.tasks.search.postings import Postings, scores
from twofold.tasks.search.sources import documents
from twofold.tasks.search.stored import StoredIndex
from twofold.tasks.search.texts import Texts
from twofold.tasks.search.vectors import Dense, Sparse, sparse_tensors

TEXTS = {f"doc-{i}": text for i, text in enumerate(small_rows().columns["document"][:40])}
QUERIES = small_rows().columns["query"][:12]


def many_vectors() -> EncoderModel:
    """A query keeps three vectors, a document one."""
    torch.manual_seed(1)
    towers = [
        TextEncoder(presets.encoder(vocab=ByteTokenizer().vocab_size, dim=32, layers=1, heads=4, max_len=64), pool)
        for pool in (FirstM(3), Mean())
    ]
    spec = {"query_tokens": 32, "document_tokens": 64}
    return EncoderModel(TwoTowers(*towers, CandidateAttention()).eval(), ByteTokenizer(), spec)


def sparse() -> EncoderModel:
    from twofold.catalog import configure
    from twofold.tasks import task

    system = configure("splade-plus").small()
    return system.start(task("search").read(small_rows()), 0)


KINDS = {
    "dense": small_model,
    "several": many_vectors,
    "sparse": sparse,
    "lexical": lambda: LexicalModel(None, None, {}),
}


@pytest.fixture(params=KINDS)
def model(request):
    return KINDS[request.param]()


def found(index, queries=QUERIES, k=5):
    return [
        [(hit.id, pytest.approx(hit.score, abs=1e-5), hit.text) for hit in hits] for hits in index.search(queries, k)
    ]


def whole(index):
    """Every document of every query by id (equal scores may come in any order), without those that score nothing."""
    return [sorted((h for h in hits if h[1] != 0), key=lambda hit: hit[0]) for hits in found(index, k=40)]


def test_finds_what_the_model_finds(model, tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", TEXTS, model, "")
    model.index(list(TEXTS.values()), list(TEXTS))
    assert whole(index) == whole(model)
    for hits in index.search(QUERIES, 7):
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert found(StoredIndex.open(tmp_path / "i", model)) == found(index)
    hits = index.search(QUERIES[0], 99)
    assert 0 < len(hits) <= len(TEXTS)  # k larger than the collection


def test_adding_and_removing_equal_building_anew(model, tmp_path) -> None:
    first, later = dict(list(TEXTS.items())[:25]), dict(list(TEXTS.items())[25:])
    index = StoredIndex.create(tmp_path / "i", first | {"doc-30": "something else"}, model, "")
    assert index.add(later) == 1  # doc-30 takes the other's place
    index.remove(["doc-3", "doc-33"])
    kept = {id: text for id, text in TEXTS.items() if id not in ("doc-3", "doc-33")}
    anew = StoredIndex.create(tmp_path / "w", kept, model, "")
    assert len(index) == len(anew) == 38
    assert sorted(index.documents()) == sorted(anew.documents())
    for one in (index, StoredIndex.open(tmp_path / "i", model)):
        assert whole(one) == whole(anew)
    index.join()
    assert len(index.segments) == 1
    assert len(list((tmp_path / "i").glob("segment-*"))) == 1
    (file,) = (tmp_path / "i").rglob("documents.safetensors")
    assert b"something else" not in file.read_bytes()
    assert whole(index) == whole(anew)


def test_bm25_equals_bm25s_whatever_the_segments(tmp_path) -> None:
    texts = list(TEXTS.values())
    engine = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    engine.index([lexical.words(text) for text in texts], show_progress=False)
    index = StoredIndex.create(tmp_path / "i", dict(list(TEXTS.items())[:7]), LexicalModel(None, None, {}), "bm25")
    index.add(dict(list(TEXTS.items())[7:]))
    for query in [*QUERIES, "lamp lamp lamp river"]:
        words = [word for word in lexical.words(query) if word in engine.vocab_dict]
        expected = engine.get_scores(words)
        hits = index.search(query, len(texts))
        assert len(hits) == (expected > 0).sum()
        np.testing.assert_allclose([h.score for h in hits], np.sort(expected[expected > 0])[::-1], rtol=1e-5)
        for hit in hits:
            assert hit.score == pytest.approx(expected[int(hit.id[4:])], rel=1e-5)
    alone = Postings.of(texts)
    gone = np.arange(len(texts)) % 3 > 0
    rest = Postings.of([text for text, keep in zip(texts, gone, strict=True) if keep])
    for query in QUERIES:
        kept = scores([alone], [gone], query, 0.9, 0.4)[gone]
        np.testing.assert_allclose(kept, scores([rest], [np.ones(len(rest), bool)], query, 0.9, 0.4), rtol=1e-6)


def test_a_query_without_a_known_word_finds_nothing(tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", TEXTS, LexicalModel(None, None, {}), "bm25")
    assert index.search("zzz qqq", 5) == []
    assert index.search(["zzz", "river"], 3)[1]
    with pytest.raises(UserError, match="a query is empty"):
        index.search(" ")


def test_another_model_is_refused(model, tmp_path) -> None:
    StoredIndex.create(tmp_path / "i", TEXTS, model, "")
    with pytest.raises(UserError, match=r"was built by another model .* or build it again with --fresh"):
        StoredIndex.open(tmp_path / "i", small_model(seed=7))
    changed = model.copy()
    changed.spec |= {"k1": 2.0, "document_prefix": "passage: "}
    with pytest.raises(UserError, match="was built by another model"):
        StoredIndex.open(tmp_path / "i", changed)


def test_the_model_is_found_where_it_was_or_where_it_is_said_to_be(tmp_path) -> None:
    small_model().save(tmp_path / "model")
    twofold.index(Rows.of({"text": list(TEXTS.values())}), tmp_path / "model", tmp_path / "i")
    assert len(twofold.open_index(tmp_path / "i")) == 40
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"cannot be opened .* say where it is with -m"):
        twofold.open_index(tmp_path / "i")
    assert twofold.open_index(tmp_path / "i", tmp_path / "moved").search("the red lamp", 1)[0].id.isdecimal()


def own_memory() -> int:
    """KB that this process has for itself, mapped files not counted."""
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("memory is counted where the system tells")
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous"))


def test_nothing_is_read_before_it_is_asked_for(tmp_path) -> None:
    big = {f"d{i}": f"lamp{i} " + "x" * 40_000 for i in range(600)}  # 24 MB of text
    StoredIndex.create(tmp_path / "i", big, LexicalModel(None, None, {}), "bm25")
    before = own_memory()
    index = StoredIndex.open(tmp_path / "i", LexicalModel(None, None, {}))
    assert index.search("lamp77", 1)[0].id == "d77"
    assert own_memory() - before < 6_000


def test_vectors_are_searched_where_they_are_mapped(tmp_path, monkeypatch) -> None:
    model = small_model()
    width = model.encode(["a lamp"]).values.shape[1]
    vectors = Dense(torch.randn(16_000_000 // (4 * width), width))  # 16 MB
    monkeypatch.setattr(
        model, "encode", lambda texts, side="document": vectors if side == "document" else vectors.take([7])
    )
    StoredIndex.create(tmp_path / "i", {f"d{i}": "a lamp" for i in range(len(vectors))}, model, "")
    before = own_memory()
    index = StoredIndex.open(tmp_path / "i", model)
    assert index.search("lamp", 1)[0].id == "d7"
    assert own_memory() - before < 6_000


def resident(file: Path) -> int:
    """KB of a mapped file that are in memory for this process."""
    if not Path("/proc/self/smaps").exists():
        pytest.skip("memory is counted where the system tells")
    lines, here, total = Path("/proc/self/smaps").read_text().splitlines(), False, 0
    for line in lines:
        here = line.endswith(str(file)) if "-" in line.split()[0] else here
        total += int(line.split()[1]) if here and line.startswith("Rss:") else 0
    return total


def asking(vectors):
    """A model whose every query is the first of `vectors`."""
    model = small_model()
    model.encode = lambda texts, side="query": vectors.take([0] * len(texts))  # type: ignore[method-assign]
    return model


def test_a_query_reads_the_lists_of_its_own_terms(tmp_path) -> None:
    random = np.random.default_rng(0)
    columns = np.sort(random.integers(0, 20_000, (1_000, 2_000)), 1).astype(np.int32)  # 2,000 postings a term: 16 MB
    pointers = np.arange(0, columns.size + 1, 2_000, dtype=np.int32)
    postings = csr_matrix((np.ones(columns.size, np.float32), columns.ravel(), pointers), (1_000, 20_000))
    Sparse(postings).save(tmp_path / "postings.safetensors")
    model = asking(Sparse.of(torch.eye(1_000)[[3]]))
    before = own_memory()
    index = InvertedIndex.open(model, tmp_path)
    assert resident(tmp_path / "postings.safetensors") < 500, "opening reads where lists begin"
    hits = index.search(["x"], 5)
    assert resident(tmp_path / "postings.safetensors") < 1_000
    assert own_memory() - before < 3_000
    counts = np.bincount(columns[3], minlength=20_000)
    assert hits.scores[0].tolist() == np.sort(counts)[::-1][:5].tolist()


def test_a_damaged_list_is_refused_by_who_asks_for_it(tmp_path) -> None:
    postings = csr_matrix(np.eye(4, dtype=np.float32))
    for bad in (-1, 4, 1 << 30):
        postings.indices[2] = bad
        Sparse(postings).save(tmp_path / "postings.safetensors")
        whole, hurt = (InvertedIndex.open(asking(Sparse.of(torch.eye(4)[[n]])), tmp_path) for n in (1, 2))
        assert whole.search(["x"], 1).positions.tolist() == [[1]]
        for ask in (lambda index=hurt: index.search(["x"], 1), whole.vectors):
            with pytest.raises(UserError, match=r"postings\.safetensors cannot be read .*build the index again"):
                ask()


@pytest.mark.parametrize(
    "changed",
    [
        {"pointers": torch.tensor([0, 3, 2, 3, 4], dtype=torch.int32)},
        {"pointers": torch.tensor([0, 1, 2, 3, 9], dtype=torch.int32)},
        {"pointers": torch.tensor([0, 4], dtype=torch.int32)},
        {"indices": torch.tensor([0.0, 1, 2, 3])},
        {"weights": torch.ones(3)},
        {"shape": torch.tensor([4])},
    ],
)
def test_lists_that_cannot_be_are_refused_at_opening(tmp_path, changed) -> None:
    save_file(sparse_tensors(csr_matrix(np.eye(4, dtype=np.float32))) | changed, tmp_path / "postings.safetensors")
    with pytest.raises(UserError, match="build the index again"):
        InvertedIndex.open(small_model(), tmp_path)


def test_a_damaged_list_of_words_is_refused_by_who_asks_for_it(tmp_path) -> None:
    Postings.of(["a lamp", "the river"]).save(tmp_path)
    found = load_file(tmp_path / "postings.safetensors")
    found["documents"][:] = 7
    save_file({name: tensor.clone() for name, tensor in found.items()}, tmp_path / "postings.safetensors")
    opened = Postings.open(tmp_path)
    with pytest.raises(UserError, match=r"'lamp' is in documents that are not there.* build the index again"):
        opened.of_word("lamp")
    assert not len(opened.of_word("boat")[0])


def test_a_damaged_passage_is_refused_by_who_asks_for_it(tmp_path) -> None:
    store = TermStore.of(Sparse.of(torch.eye(3)))
    store.ids[1] = 9
    save_file(store.tensors(), tmp_path / "store.safetensors")
    opened = TermStore.open(tmp_path / "store.safetensors")
    assert opened.scores(np.array([0]), np.array([2.0]), np.array([0, 2])).tolist() == [2, 0]
    with pytest.raises(UserError, match="build the index again"):
        opened.scores(np.array([0]), np.array([2.0]), np.array([0, 1]))


def test_the_ids_of_a_segment_are_looked_through_once(tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", TEXTS, LexicalModel(None, None, {}), "bm25")
    index.add({"a": "first lamp"})
    table = index.segments[0].ids.places
    index.add({"doc-3": "another text", "b": "second lamp"})
    index.remove(["a"])
    assert index.segments[0].ids.places is table, "a kept segment's ids do not change"
    assert index.missing(["a", "b", "doc-3", "doc-4", "x"]) == ["a", "x"]
    index.remove(["doc-3"])
    index.add({"doc-3": "a third text", "a": "first lamp again"})
    assert index.missing(["doc-3", "a"]) == []
    with pytest.raises(UserError, match="holds no document x"):
        index.remove(["x"])
    assert dict(StoredIndex.open(tmp_path / "i", index.model).documents()) == dict(index.documents())
    assert dict(index.documents()) == {**TEXTS, "b": "second lamp", "doc-3": "a third text", "a": "first lamp again"}


def test_a_write_that_fails_leaves_what_was_there(model, tmp_path, monkeypatch) -> None:
    index = StoredIndex.create(tmp_path / "i", TEXTS, model, "")
    before = found(index)

    def fails(*given: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments, "write_documents", fails)
        with pytest.raises(UserError, match="disk is full"):
            index.add({"new": "a new lamp"})
    with monkeypatch.context() as patch:
        patch.setattr(module.json, "dumps", fails)
        with pytest.raises((UserError, OSError)):
            index.remove(["doc-1"])
    assert found(StoredIndex.open(tmp_path / "i", model)) == before
    (tmp_path / "i" / ".index.json.partial-0").touch()  # what killed writers leave
    (tmp_path / "i" / ".segment-9-0.partial-0").mkdir()
    index.add({"new": "a new lamp"})
    assert len(list((tmp_path / "i").glob("segment-*"))) == 2  # the orphan is gone
    assert not list((tmp_path / "i").glob(".*partial*"))


def test_two_who_write_see_each_other(tmp_path) -> None:
    lexical_model = LexicalModel(None, None, {})
    one = StoredIndex.create(tmp_path / "i", TEXTS, lexical_model, "bm25")
    two = StoredIndex.open(tmp_path / "i", lexical_model)
    one.add({"a": "first lamp"})
    two.add({"b": "second lamp"})
    assert len(two) == 42
    for number in range(16):  # many segments become one
        two.add({f"n{number}": f"lamp {number}"})
    assert len(two.segments) < 10
    assert len(StoredIndex.open(tmp_path / "i", lexical_model)) == 58


def test_rerank_orders_the_shortlist_and_leaves_the_rest(tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", TEXTS, LexicalModel(None, None, {}), "bm25")
    reader = small_model()
    query = "paint the red lamp"
    plain = index.search(query, 12)
    hits = index.search(query, 12, rerank=reader, shortlist=6)
    assert {h.id for h in hits[:6]} == {h.id for h in plain[:6]}
    assert [h.id for h in hits[6:]] == [h.id for h in plain[6:]]
    expected = reader.pair_scores([query] * 6, [h.text for h in plain[:6]])
    assert [h.score for h in hits[:6]] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-5)
    with pytest.raises(UserError, match="shortlist holds 0"):
        index.search(query, rerank=reader, shortlist=0)


def test_figures_equal_those_of_ir_measures(tmp_path) -> None:
    random = np.random.default_rng(0)
    index = StoredIndex.create(tmp_path / "i", TEXTS, LexicalModel(None, None, {}), "bm25")
    judged = {f"q{n}": {f"doc-{d}": int(random.integers(0, 3)) for d in random.integers(0, 40, 6)} for n in range(12)}
    judged["q3"]["gone"] = 1
    judged["unknown"] = {"doc-1": 1}
    (tmp_path / "q.tsv").write_text("".join(f"q{n}\t{query}\n" for n, query in enumerate(QUERIES)))
    lines = [f"{q} 0 {d} {g}\n" for q, documents in judged.items() for d, g in documents.items()]
    (tmp_path / "q.qrel").write_text("".join(lines))
    with pytest.warns(UserWarning, match="left out|not found|share no more") as told:
        measured = twofold.evaluate(
            index, queries=tmp_path / "q.tsv", qrels=tmp_path / "q.qrel", run=tmp_path / "r.run"
        )
    notes = ("lacks; left out", "share no more words", "count as not found")  # the judgements are random
    assert [[note in str(w.message) for note in notes].index(True) for w in told] == [0, 1, 2]
    run = list(ir_measures.read_trec_run(str(tmp_path / "r.run")))
    qrels = [line for line in ir_measures.read_trec_qrels(str(tmp_path / "q.qrel")) if line.query_id != "unknown"]
    names = {"ndcg@10": "nDCG@10", "mrr@10": "RR@10", "map": "AP", "recall@100": "R@100", "recall@1000": "R@1000"}
    expected = ir_measures.calc_aggregate([ir_measures.parse_measure(n) for n in names.values()], qrels, run)
    for name, measure in names.items():
        assert measured.figures[name] == pytest.approx(expected[ir_measures.parse_measure(measure)], abs=1e-9)
    assert len(measured.items) == 12
    (tmp_path / "other.tsv").write_text("zz\tlamp\n")
    with pytest.raises(UserError, match=r"judges no query of .*other\.tsv"):
        twofold.evaluate(index, queries=tmp_path / "other.tsv", qrels=tmp_path / "q.qrel")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("index.json", b"{}"),
        ("index.json", b'{"kind": "twofold-index", "format": 9, "written": 1, "model": {}, "segments": []}'),
        ("documents.safetensors", b"garbage"),
        ("postings.safetensors", b"garbage"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path, file, content) -> None:
    model = LexicalModel(None, None, {})
    StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    next((tmp_path / "i").rglob(file)).write_bytes(content)
    with pytest.raises(UserError, match="again"):
        StoredIndex.open(tmp_path / "i", model)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {}},
        {"model": {"source": "bm25", "name": "bm25"}},
        {"segments": []},
        {"engine": "strange"},
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, change) -> None:
    model = LexicalModel(None, None, {})
    StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    file = tmp_path / "i" / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match="not that of an index"):
        StoredIndex.open(tmp_path / "i", model)


@pytest.mark.parametrize("double", [False, True])
def test_a_manifest_that_removes_or_repeats_what_cannot_be_is_refused(tmp_path, double) -> None:
    model = LexicalModel(None, None, {})
    StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    file = tmp_path / "i" / "index.json"
    found = json.loads(file.read_text())
    if double:
        found["segments"] *= 2
    else:
        found["segments"][0]["removed"] = [-1]
    file.write_text(json.dumps(found))
    with pytest.raises(UserError, match="not that of an index"):
        StoredIndex.open(tmp_path / "i", model)


def test_what_is_no_index_is_never_replaced(tmp_path) -> None:
    model, site = LexicalModel(None, None, {}), tmp_path / "site"
    (site / "src").mkdir(parents=True)
    (site / "index.json").write_text('{"name": "a page"}')
    (site / "src" / "page.txt").write_text("kept")
    with pytest.raises(UserError, match="something that is not an index"):
        StoredIndex.create(site, TEXTS, model, "bm25", fresh=True)
    StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    (tmp_path / "i" / "notes.txt").write_text("kept")
    with pytest.raises(UserError, match=r"holds notes\.txt beside its index"):
        StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25", fresh=True)
    assert (site / "src" / "page.txt").read_text() == (tmp_path / "i" / "notes.txt").read_text() == "kept"


def test_vectors_that_cannot_be_are_refused(tmp_path) -> None:
    model = small_model()
    StoredIndex.create(tmp_path / "i", TEXTS, model, "m")
    file = next((tmp_path / "i").rglob("vectors.safetensors"))
    held = load_file(file)["vectors"].clone()
    for bad, when in ((held.long(), "build the index again"), (held[:, :-1].contiguous(), "vectors of .* numbers")):
        save_file({"vectors": bad}, file)
        with pytest.raises(UserError, match=when):
            StoredIndex.open(tmp_path / "i", model).search("lamp")


def test_judgements_that_count_queries_are_matched_and_strange_ones_noted(tmp_path) -> None:
    names = [
        "lamp",
        "boat",
        "tree",
        "storm",
        "bread",
        "harbour",
        "garden",
        "ladder",
        "river",
        "tower",
        "cloud",
        "stone",
    ]
    texts = {str(n): f"the {name} is here" for n, name in enumerate(names)}
    index = StoredIndex.create(tmp_path / "i", texts, LexicalModel(None, None, {}), "bm25")
    (tmp_path / "q.tsv").write_text("".join(f"{3 * n + 1}\t{name}\n" for n, name in enumerate(names)))
    (tmp_path / "q.qrel").write_text("".join(f"{n + 1} 0 {n} 1\n" for n in range(12)))
    with pytest.warns(UserWarning, match="judgements count the queries"):
        measured = twofold.evaluate(index, queries=tmp_path / "q.tsv", qrels=tmp_path / "q.qrel")
    assert measured.figures["ndcg@10"] == 1.0
    (tmp_path / "q.qrel").write_text("".join(f"{3 * n + 1} 0 {(n + 5) % 12} 1\n" for n in range(12)))
    with pytest.warns(UserWarning, match="share no more words"):
        twofold.evaluate(index, queries=tmp_path / "q.tsv", qrels=tmp_path / "q.qrel")


def test_an_empty_query_of_a_file_is_left_out_with_a_warning(tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", {"a": "a lamp"}, LexicalModel(None, None, {}), "bm25")
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "lamp"}\n{"_id": "2", "text": " "}\n')
    (tmp_path / "q.qrel").write_text("1 0 a 1\n")
    with pytest.warns(UserWarning, match="empty"):
        assert twofold.evaluate(index, queries=tmp_path / "q.jsonl", qrels=tmp_path / "q.qrel").figures["map"] == 1


def test_a_ranking_with_blanks_in_its_ids_is_not_written(tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", {"my doc": "a lamp"}, LexicalModel(None, None, {}), "bm25")
    (tmp_path / "q.tsv").write_text("q1\tlamp\n")
    (tmp_path / "q.qrel").write_text("q1 0 other 1\n")
    with pytest.warns(UserWarning, match="lacks"), pytest.raises(UserError, match="has blanks"):
        twofold.evaluate(index, queries=tmp_path / "q.tsv", qrels=tmp_path / "q.qrel", run=tmp_path / "r.run")
    assert not (tmp_path / "r.run").exists()


def test_a_segment_outside_of_the_folder_is_refused(tmp_path) -> None:
    model = LexicalModel(None, None, {})
    StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    manifest = json.loads((tmp_path / "i" / "index.json").read_text())
    manifest["segments"][0]["name"] = "segment-1/../../elsewhere"
    (tmp_path / "i" / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="not that of an index"):
        StoredIndex.open(tmp_path / "i", model)


def test_what_cannot_be_asked(tmp_path) -> None:
    index = StoredIndex.create(tmp_path / "i", TEXTS, LexicalModel(None, None, {}), "bm25")
    for one in (index, LexicalModel(None, None, {}).index(["a lamp"])):
        for k in (0, -1):
            with pytest.raises(UserError, match="ask for 1 document or more"):
                one.search("lamp", k)
    for ids in (["x"], ["x", "x"]):
        with pytest.raises(UserError, match="as many ids, each its own"):
            LexicalModel(None, None, {}).index(["a lamp", "a boat"], ids)
    index.remove("doc-3")
    assert "doc-3" not in index


def test_a_model_with_its_own_index_finds_nothing_by_unknown_words() -> None:
    assert LexicalModel(None, None, {}).index(["a lamp", "a boat"]).search("zebra xyzzy") == []
    found = LexicalModel(None, None, {}).index(["a lamp", "a boat"]).search(["lamp", "zebra"])
    assert [[hit.text for hit in hits] for hits in found] == [["a lamp"], []]


def test_what_cannot_be_indexed(tmp_path) -> None:
    model = LexicalModel(None, None, {})
    with pytest.raises(UserError, match="no documents to index"):
        StoredIndex.create(tmp_path / "i", {}, model, "bm25")
    with pytest.raises(UserError, match="document a is an empty text"):
        StoredIndex.create(tmp_path / "i", {"a": " "}, model, "bm25")
    assert not (tmp_path / "i").exists()
    with pytest.raises(UserError, match="'a' stands for two different texts"):
        documents(Rows.of({"id": ["a", "a"], "text": ["x", "y"]}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert documents(Rows.of({"id": ["a", "a", "b"], "text": ["x", "x", " "]})) == {"a": "x"}
    assert len(told) == 2
    index = StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    with pytest.raises(UserError, match="holds no document nope"):
        index.remove(["nope"])
    with pytest.raises(UserError, match="leave nothing"):
        index.remove(list(TEXTS))
    with pytest.raises(UserError, match=r"--add, .* --fresh"):
        StoredIndex.create(tmp_path / "i", TEXTS, model, "bm25")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    with pytest.raises(UserError, match="not an index"):
        StoredIndex.create(tmp_path / "full", TEXTS, model, "bm25", fresh=True)


def test_the_file_of_a_beir_collection_gives_what_its_folder_does(tmp_path) -> None:
    rows = [
        {"_id": "x", "title": "Lamps", "text": "How to light one"},
        {"_id": "y", "title": "Rivers", "text": ""},
        {"_id": "z", "title": None, "text": "Doors"},
    ]
    file = tmp_path / "beir" / "corpus.jsonl"
    file.parent.mkdir()
    file.write_text("\n".join(map(json.dumps, rows)))
    expected = {"x": "Lamps\nHow to light one", "y": "Rivers", "z": "Doors"}
    assert documents(file) == documents(file.parent) == expected
    (tmp_path / "corpus.csv").write_text("_id,title,text\nx,Lamps,How to light one\nz,,Doors\n")
    assert documents(tmp_path / "corpus.csv") == {"x": expected["x"], "z": "Doors"}


@pytest.mark.parametrize("name", ["id", "Id", "_ID", "doc_id", "DocID", "name"])
def test_a_column_of_ids_may_have_other_names(name) -> None:
    assert documents(Rows.of({"name": ["n"], name: ["a"], "text": ["x"]})) == {"a": "x"}


def test_a_folder_of_code_gives_its_functions(tmp_path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text(
        'def read_lamp(path):\n    """Read a lamp from a file."""\n    return path\n'
    )
    with (tmp_path / "code" / "a.py").open("a") as file:
        file.write("class Lamp:\n    def dim(self):\n        return self.light / 2\n")
    found = documents(tmp_path / "code")
    assert list(found) == ["a.py:read_lamp", "a.py:Lamp.dim"]
    assert "Read a lamp" in found["a.py:read_lamp"]
    assert found["a.py:Lamp.dim"] == "def dim(self):\n    return self.light / 2\n"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("lamps")
    (tmp_path / "notes" / "two.txt").write_text("rivers")
    assert documents(tmp_path / "notes") == {"one.md": "lamps", "two.txt": "rivers"}


def test_texts_are_found_by_their_bytes() -> None:
    words = sorted(["", "a", "ab", "ä", "zebra", "日本"], key=str.encode)
    texts = Texts.of(words)
    assert list(texts) == words
    assert [texts.find(word) for word in words] == list(range(6))
    assert texts.find("b") is None
    assert texts[-1] == words[-1]
    assert Texts.of([]).find("x") is None
