"""ME-BERT: one vector is a dual encoder, the best of several counts, and projections fail as the theory says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.parts import FirstOrLast, MaxOverVectors
from twofold.systems.retrieval.me_bert_study import bound, bound_width, failure, margin, study, width_needed
from twofold.tasks import task
from twofold.tasks.examples import small_rows
from twofold.tasks.search import fusion


def test_one_vector_is_a_dual_encoder() -> None:
    system = configure("me-bert", vectors=1).small()
    data = task("search").read(small_rows())
    model = system.start(data, 0)
    ids, real = torch.randint(5, 50, (3, 7)), torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    one, other = model.net.query(ids, real), model.net.document(ids, real)
    torch.testing.assert_close(other[:, 0], one)
    torch.testing.assert_close(model.net.score(one, other), one @ one.T)
    batch = system.batches(model, data, 0)(0, 0.0)
    queries, documents = batch.queries.embed(model.net.query), batch.documents.embed(model.net.document)[:, 0]
    scores = queries @ documents.T
    same = (batch.query_ids[:, None, None] == batch.query_ids[None, :, None]) & (
        batch.document_ids[None, : len(queries), None] == batch.document_ids[None, None, :]
    )
    known = same.any(1)
    known[torch.arange(len(queries)), torch.arange(len(queries))] = False
    expected = torch.nn.functional.cross_entropy(scores.masked_fill(known, -torch.inf), torch.arange(len(queries)))
    torch.testing.assert_close(system.loss(model.net, batch).value, expected)


def test_the_best_vector_counts() -> None:
    torch.manual_seed(0)
    queries, documents = torch.randn(4, 6), torch.randn(5, 3, 6)
    scores = MaxOverVectors()(queries, documents)
    for q in range(4):
        for d in range(5):
            best = max(float(queries[q] @ documents[d, j]) for j in range(3))
            assert scores[q, d].item() == pytest.approx(best, rel=1e-5)


def test_short_documents_repeat_their_last_state_and_padding_is_never_used() -> None:
    states = torch.randn(2, 5, 4)
    real = torch.tensor([[True, True, False, False, False], [False, True, True, True, True]])
    pooled = FirstOrLast(3)(states, real)
    torch.testing.assert_close(pooled[0], states[0, [0, 1, 1]])
    torch.testing.assert_close(pooled[1], states[1, [1, 2, 3]])
    changed = states.clone()
    changed[~real] = 99
    torch.testing.assert_close(FirstOrLast(3)(changed, real), pooled)
    assert (FirstOrLast(2)(states, torch.zeros_like(real)) == 0).all()
    assert FirstOrLast(9)(states, real).shape == (2, 9, 4)


def test_search_ranks_by_the_best_vector() -> None:
    system = configure("me-bert", vectors=3).small()
    data = task("search").read(small_rows())
    model = system.fit(data, Steps(3)).model
    texts = list(data.documents[:12])
    hits = model.index(texts).search(data.queries[0], 12)
    query, documents = model.encode([data.queries[0]], side="query").values, model.encode(texts).values
    assert documents.shape[:2] == (12, 3)
    expected = (documents @ query[0]).amax(1)
    assert [hit.score for hit in hits] == pytest.approx(expected.sort(descending=True).values.tolist(), rel=1e-5)
    assert len({hit.id for hit in hits}) == 12


def test_fusion_goes_from_one_order_to_the_other() -> None:
    sparse, dense = {"a": 9.0, "b": 4.0, "c": 1.0}, {"d": 0.9, "c": 0.7, "a": 0.1}
    assert fusion.ranked(fusion.linear(sparse, dense, 0))[:2] == ["a", "b"]
    assert fusion.ranked(fusion.linear(sparse, dense, 1e6))[:2] == ["d", "c"]
    both = fusion.linear(sparse, dense, 1.0)
    assert both == pytest.approx({"a": 1.0, "b": 3 / 8, "c": 0.75, "d": 1.0})
    assert fusion.linear({"a": 2.0}, {}, 1.0) == {"a": 1.0}
    ranks = fusion.reciprocal_rank(sparse, dense, constant=1)
    assert ranks == pytest.approx({"a": 1 / 2 + 1 / 4, "b": 1 / 3, "c": 1 / 4 + 1 / 3, "d": 1 / 2})


def test_projections_fail_as_often_as_said_and_never_more_than_the_bound() -> None:
    random = np.random.default_rng(0)
    count, size = 10_000, 40
    queries, better, worse = (random.random((count, size)) < share for share in (0.2, 0.4, 0.4))
    queries, better, worse = (each.astype(float) for each in (queries, better, worse))
    differences = better - worse
    kept = (queries * differences).sum(1) > 0
    queries, differences = queries[kept], differences[kept]
    norms = np.linalg.norm(queries, axis=1) * np.linalg.norm(differences, axis=1)
    margins = (queries * differences).sum(1) / norms
    assert margin(queries[0], differences[0], np.zeros(size)) == pytest.approx(margins[0])
    for width in (4, 16, 64):
        wrong = np.zeros(len(margins), bool)
        for start in range(0, len(margins), 500):  # a projection of its own for every 500 triples
            some = slice(start, start + 500)
            projection = random.normal(size=(size, width)) / np.sqrt(width)
            wrong[some] = ((queries[some] @ projection) * (differences[some] @ projection)).sum(1) < 0
        assert wrong.mean() == pytest.approx(failure(width, margins).mean(), abs=0.04)
        assert wrong.mean() <= np.minimum(1, bound(width, margins)).mean()
        assert (failure(width, margins) <= bound(width, margins)).all()


def test_the_width_needed_grows_about_as_the_length() -> None:
    report = study(None, 0.05, 0)
    assert 0.7 <= report.figures["slope"] <= 1.3
    assert report.figures["widest_of_bound"] <= 1
    for epsilon in (0.02, 0.1, 0.4):
        k = width_needed(epsilon, 0.05)
        assert failure(k, epsilon) <= 0.05
        assert k == 1 or failure(k - 1, epsilon) > 0.05
        assert k <= bound_width(epsilon, 0.05)


def test_the_study_of_a_persons_documents() -> None:
    report = configure("me-bert").run(None, small_rows())
    assert report.tables[1].title.startswith("Your documents")
    assert report.figures["triples"] > 5
    assert 0 < report.figures["margin"] < 1


def test_concepts_answer_exactly() -> None:
    from twofold.data.made.concepts import concepts

    data = task("search").read(concepts(train=60, validation=10, test=40, queries=20, count=20, length=32))
    assert len(data.pool("test")) == 40
    assert len(data.asked("test")) <= 20
    for query in data.asked("test"):
        told = data.queries[query].split()
        assert len(told) == 2
        assert any(all(word in data.documents[d].split() for word in told) for d in data.relevant[query])
    with pytest.raises(UserError, match="width"):
        configure("me-bert", width=0)
