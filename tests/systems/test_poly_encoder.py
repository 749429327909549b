"""Poly-encoder [123]: what must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from twofold.catalog import configure
from twofold.parts import CandidateAttention, CodeAttention
from twofold.systems.retrieval.poly_encoder import likeness
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows
from twofold.tasks.search.task import among


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def data():
    return task_named("search").read(small_rows())


@pytest.fixture(scope="module", params=["learned", "first"])
def model(request, data):
    system = dataclasses.replace(configure("poly-encoder").small(), codes=4, code_kind=request.param, width=12)
    return system.start(data, 0)


def test_score_equals_the_double_loop() -> None:
    contexts, candidates = random(5, 3, 8), random(7, 8, seed=1)
    looped = torch.empty(5, 7)
    for q, codes in enumerate(contexts):
        for d, candidate in enumerate(candidates):
            attended = torch.softmax(codes @ candidate, 0) @ codes
            looped[q, d] = attended @ candidate
    torch.testing.assert_close(CandidateAttention()(contexts, candidates), looped, rtol=1e-5, atol=1e-5)


def test_codes_attend_over_real_tokens_alone() -> None:
    pool, states = CodeAttention(8, 3), random(2, 6, 8)
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    pooled = pool(states, real)
    by_hand = torch.softmax(pool.codes @ states[1, :4].T, 1) @ states[1, :4]
    torch.testing.assert_close(pooled[1], by_hand, rtol=1e-5, atol=1e-6)
    loud = states.clone()
    loud[1, 4:] = 1e4
    assert torch.equal(pool(loud, real), pooled)
    assert not pool(states, torch.zeros_like(real)).any()


def test_padding_of_the_context_weighs_nothing(model) -> None:
    tower = model.net.tower("query")
    ids = torch.tensor(model.tokens(["the red lamp is here"], "query"))
    real = torch.ones_like(ids, dtype=torch.bool)
    wide = torch.nn.functional.pad(ids, (0, 5), value=model.tokenizer.pad)
    padded = torch.nn.functional.pad(real, (0, 5), value=False)
    torch.testing.assert_close(tower(wide, padded), tower(ids, real), rtol=1e-5, atol=1e-6)


def test_a_context_shorter_than_its_codes_scores_with_what_it_has() -> None:
    codes, candidates = random(1, 3, 8), random(4, 8, seed=1)
    filled = torch.cat([codes, torch.zeros(1, 5, 8)], 1)
    score = CandidateAttention()
    torch.testing.assert_close(score(filled, candidates), score(codes, candidates), rtol=1e-5, atol=1e-6)
    assert torch.isfinite(score(torch.zeros(1, 3, 8), candidates)).all()


def test_with_one_code_the_second_attention_is_the_identity() -> None:
    context, candidates = random(5, 1, 8), random(7, 8, seed=1)
    score = CandidateAttention()(context, candidates)
    torch.testing.assert_close(score, context[:, 0] @ candidates.T, rtol=1e-5, atol=1e-5)


def test_order_of_candidates_changes_no_score(model, data) -> None:
    documents = list(data.documents[:12])
    query = data.queries[0]
    there = {hit.text: hit.score for hit in model.rerank(query, documents)}
    back = {hit.text: hit.score for hit in model.rerank(query, documents[::-1])}
    assert there.keys() == back.keys() == set(documents)
    assert there == pytest.approx(back, rel=1e-5, abs=1e-6)


def test_candidate_vectors_do_not_depend_on_the_query(model, data) -> None:
    documents = list(data.documents[:10])
    index = model.build_index(documents)
    before = index.vectors.values.clone()
    index.search(data.queries[:3], 5)
    assert torch.equal(index.vectors.values, before)
    assert before.shape == (10, 12)


def test_search_ranks_by_the_late_score(model, data) -> None:
    documents, queries = list(data.documents[:20]), list(data.queries[:4])
    found = model.build_index(documents).search(queries, 20)
    full = model.net.score(model.encode(queries, "query").values, model.encode(documents).values)
    torch.testing.assert_close(
        torch.from_numpy(found.scores), full.sort(1, descending=True).values, rtol=1e-5, atol=1e-6
    )
    assert model.encode(queries, "query").values.shape == (4, 4, 12)


def test_the_towers_start_alike_and_share_nothing(model) -> None:
    for part in ("model", "project"):
        query, document = getattr(model.net.query, part), getattr(model.net.document, part)
        for mine, other in zip(query.parameters(), document.parameters(), strict=True):
            assert torch.equal(mine, other)
            assert mine is not other


def test_codes_start_apart() -> None:
    torch.manual_seed(0)
    codes = CodeAttention(64, 16).codes
    assert likeness(codes[None].detach()).abs() < 0.1
    assert likeness(torch.ones(2, 3, 4)).item() == pytest.approx(1.0)


def test_rivals_of_the_data_are_the_hard_negatives() -> None:
    from twofold.data.made.statements import statements

    data = task_named("search").read(statements(train=12, validation=2, test=4))
    system = dataclasses.replace(configure("poly-encoder").small(), negatives=3, batch=6)
    batch = system.batches(system.start(data, 0), data, 0)(0, 0.0)
    assert len(batch.document_ids) == 6 + 18
    for document, owner in zip(batch.document_ids[6:], batch.owners, strict=True):
        assert int(document) in data.rivals[int(batch.query_ids[owner])]
    halves = [batch.shard(rank, 2) for rank in range(2)]
    for half in halves:
        assert len(half.query_ids) == 3
        for document, owner in zip(half.document_ids[3:], half.owners, strict=True):
            assert int(document) in data.rivals[int(half.query_ids[owner])]


def test_rivals_share_a_word_and_parts_share_no_candidate() -> None:
    from twofold.data.made.statements import statements

    rows = statements(train=20, validation=4, test=8)
    words: dict[str, set[str]] = {part: set() for part in ("train", "validation", "test")}
    for query, document, grade, part in zip(*rows.require("query", "document", "grade", "split"), strict=True):
        value, attribute, entity = document.split()
        stated = [fact.split() for fact in query.split(" . ")]
        assert any(entity == fact[0] or value == fact[2] for fact in stated)
        assert (f"{entity} {attribute} {value}" in query.split(" . ")) == bool(grade)
        words[part].add(document)
    assert not words["train"] & words["test"]
    assert not words["validation"] & words["test"]
    assert rows.fingerprint == statements(train=20, validation=4, test=8).fingerprint


def test_candidates_are_ranked_among_themselves() -> None:
    from twofold.data.made.statements import statements

    task = task_named("search")
    data = task.read(statements(train=12, validation=2, test=6))
    system = dataclasses.replace(configure("poly-encoder").small(), query_tokens=40, document_tokens=8)
    model = system.start(data, 0)
    evaluation = task.evaluate(model, data, "test", candidates=True, metric="recall@1")
    for row, query in enumerate(data.asked("test")):
        (answer,) = data.relevant[query]
        listed = [answer, *data.rivals[query]]
        best = model.rerank(data.queries[query], [data.documents[d] for d in listed], 1)[0]
        assert evaluation.items[row] == float(best.id == "0")
    assert among(torch.tensor([[2, 0, 1]]).numpy(), [[1, 2]]).tolist() == [[2, 1]]
