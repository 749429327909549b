"""Search in stages: what must hold."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from twofold.errors import UserError
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_model, small_rows
from twofold.tasks.search import LexicalModel
from twofold.tasks.search.index import ExactIndex
from twofold.tasks.search.stages import LOOKUPS, PairScorer, Stage, StagedIndex, adaptive, by_width, funnel

ROWS = small_rows()
DOCUMENTS, QUERIES = ROWS.columns["document"][:60], ROWS.columns["query"][60:75]


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def vectors(model):
    return model.encode(DOCUMENTS)


def test_one_stage_is_exact_search(model, vectors) -> None:
    exact = ExactIndex(model, vectors).search(QUERIES, 20)
    one = by_width(model, vectors, [(32, None)]).search(QUERIES, 20)
    assert np.array_equal(one.positions, exact.positions)
    assert np.array_equal(one.scores, exact.scores)


@pytest.mark.parametrize("plan", [adaptive(4, 32, 60), ((4, None), (8, 60), (16, 60), (32, 60))])
def test_the_whole_corpus_as_shortlist_gives_the_exact_ranking(model, vectors, plan) -> None:
    exact = ExactIndex(model, vectors).search(QUERIES, 60)
    staged = by_width(model, vectors, plan).search(QUERIES, 60)
    assert np.array_equal(staged.positions, exact.positions)
    np.testing.assert_allclose(staged.scores, exact.scores, rtol=1e-5, atol=1e-6)


def test_a_width_is_cut_and_normalised_search(model, vectors) -> None:
    """The view with one number a document scores as vectors that were cut before."""
    cut = model.cut(8)
    before = cut.build_index(DOCUMENTS).search(QUERIES, 60)
    view = ExactIndex(model, vectors, 8)
    found = view.search(QUERIES, 60)
    assert np.array_equal(found.positions, before.positions)
    np.testing.assert_allclose(found.scores, before.scores, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(view.among(QUERIES, found.positions), found.scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cut.encode(DOCUMENTS).values.norm(dim=1), torch.ones(60))
    assert view.nbytes == vectors.nbytes + 4 * 60


def test_a_shortlist_is_ordered_by_the_wider_vectors(model, vectors) -> None:
    narrow = ExactIndex(model, vectors, 4).search(QUERIES, 60)
    staged = by_width(model, vectors, [(4, None), (32, 12)]).search(QUERIES, 60)
    full = model.encode(QUERIES, "query").values @ vectors.values.T
    for row in range(len(QUERIES)):
        best = sorted(narrow.positions[row, :12], key=lambda d: -full[row, d].item())
        assert staged.positions[row, :12].tolist() == best
        assert staged.positions[row, 12:].tolist() == narrow.positions[row, 12:].tolist()


def test_the_papers_funnel() -> None:
    assert funnel(16, 2048, 200) == ((16, None), (32, 200), (64, 100), (128, 50), (256, 25), (2048, 10))
    for lookup in LOOKUPS.values():
        assert tuple(lookup(32, 32, 200)) == ((32, None),)
        assert lookup(8, 32, 200)[-1][0] == 32


def test_multiplications_are_counted(model, vectors) -> None:
    assert ExactIndex(model, vectors).multiplications == 60 * 32
    assert ExactIndex(model, vectors, 8).multiplications == 60 * 9
    staged = by_width(model, vectors, [(4, None), (8, 20), (32, 10)])
    assert staged.multiplications == 60 * 5 + 20 * 9 + 10 * 32
    assert staged.nbytes == vectors.nbytes + 2 * 4 * 60
    data = task_named("search").read(ROWS)
    figures = task_named("search").evaluate(model, data).figures
    assert figures["multiplications_per_query"] == len(data.pool("test")) * 32


def test_any_model_scores_what_another_found(model) -> None:
    """BM25 finds, an encoder puts in order: the scores of the last stage are the encoder's."""
    lexical = LexicalModel(None, None)
    index = StagedIndex(lexical.build_index(DOCUMENTS), [Stage(PairScorer(model, DOCUMENTS), 10)])
    found = index.search(QUERIES[:3], 10)
    first = lexical.build_index(DOCUMENTS).search(QUERIES[:3], 10)
    for row, query in enumerate(QUERIES[:3]):
        assert set(found.positions[row]) == set(first.positions[row])
        scores = model.pair_scores([query] * 10, [DOCUMENTS[d] for d in found.positions[row]])
        np.testing.assert_allclose(found.scores[row], scores, rtol=1e-5, atol=1e-6)
        assert (np.diff(found.scores[row]) <= 0).all()
    assert index.multiplications is None


def test_queries_are_encoded_once(model, vectors, monkeypatch) -> None:
    calls = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda texts, side="document": calls.append(len(texts)) or encode(texts, side))
    by_width(model, vectors, funnel(4, 32, 40)).search(QUERIES, 5)
    assert calls == [len(QUERIES)]


def test_stages_are_kept_with_the_model(model, tmp_path) -> None:
    staged = model.cut(16, adaptive(4, 16, 20)).index(DOCUMENTS)
    staged.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert [h.id for h in again.search(QUERIES[0], 5)] == [h.id for h in staged.search(QUERIES[0], 5)]
    assert isinstance(again._index, StagedIndex)
    assert json.loads(json.dumps(again.spec["stages"])) == [[4, None], [16, 20]]


@pytest.mark.parametrize("width", [0, 33])
def test_a_width_that_the_vectors_have_not_is_refused(model, vectors, width) -> None:
    with pytest.raises(UserError, match=f"width={width} .* 1 to 32"):
        model.cut(width)
    with pytest.raises(UserError, match=f"width={width} "):
        ExactIndex(model, vectors, width)


def test_stages_that_grow_are_refused(model, vectors) -> None:
    with pytest.raises(UserError, match="do not rise"):
        by_width(model, vectors, [(4, None), (8, 10), (32, 20)])
