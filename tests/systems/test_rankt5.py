"""RankT5 [2], and the cross-encoder that it is compared with: what must hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from twofold.catalog import configure
from twofold.data import Rows
from twofold.objectives import ranking
from twofold.parts import Mask, OverlapEmbedding, StepScorer, TokenEmbedding, build
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows
from twofold.tasks.search import PairModel

LOSSES = (ranking.pointwise, ranking.pairwise, ranking.list_softmax, ranking.poly_softmax)


@pytest.fixture(scope="module")
def data() -> Any:
    return task_named("search").read(small_rows())


def grad(loss: Any, scores: torch.Tensor, grades: torch.Tensor, counted: torch.Tensor | None = None) -> torch.Tensor:
    leaf = scores.clone().requires_grad_()
    loss(leaf, grades, counted).value.backward()
    assert leaf.grad is not None
    return leaf.grad


def test_losses_of_two_documents_have_closed_forms() -> None:
    a, b = 1.3, -0.4
    scores, grades = torch.tensor([[a, b]]).double(), torch.tensor([[1.0, 0.0]]).double()
    p = 1 / (1 + math.exp(b - a))

    def value(loss: Any, **options: Any) -> float:
        return float(loss(scores, grades, **options).value)

    assert value(ranking.pointwise) == pytest.approx((math.log1p(math.exp(-a)) + math.log1p(math.exp(b))) / 2)
    weighted = (7 * math.log1p(math.exp(-a)) + math.log1p(math.exp(b))) / 2
    assert value(ranking.pointwise, positive_weight=7.0) == pytest.approx(weighted)
    assert value(ranking.pairwise) == pytest.approx(math.log1p(math.exp(b - a)))
    assert value(ranking.list_softmax) == pytest.approx(-math.log(p))
    assert value(ranking.poly_softmax) == pytest.approx(-math.log(p) + 1 - p)
    assert value(ranking.poly_softmax, epsilon=0.5) == pytest.approx(-math.log(p) + 0.5 * (1 - p))


def test_poly_without_its_term_is_softmax() -> None:
    torch.manual_seed(0)
    scores, grades = torch.randn(4, 5), torch.randint(0, 3, (4, 5)).float()
    assert torch.equal(
        ranking.poly_softmax(scores, grades, epsilon=0.0).value, ranking.list_softmax(scores, grades).value
    )


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_a_constant_changes_list_losses_nothing(loss: Any) -> None:
    torch.manual_seed(0)
    scores, grades = torch.randn(4, 5).double(), torch.eye(5)[:4].double()
    torch.testing.assert_close(loss(scores + 3.0, grades).value, loss(scores, grades).value)
    assert not torch.isclose(ranking.pointwise(scores + 3.0, grades).value, ranking.pointwise(scores, grades).value)


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_places_get_no_gradient_and_order_does_not_matter(loss: Any) -> None:
    torch.manual_seed(0)
    scores, grades = torch.randn(3, 5), torch.eye(5)[:3]
    counted = torch.ones(3, 5, dtype=torch.bool)
    counted[1, 3:] = False
    counted[2, 4] = False
    found = grad(loss, scores, grades, counted)
    assert not found[~counted].any()
    assert found[counted].any()
    order = torch.tensor([3, 0, 4, 2, 1])
    permuted = grad(loss, scores[:, order], grades[:, order], counted[:, order])
    torch.testing.assert_close(permuted, found[:, order], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("form", ["encoder", "encoder-decoder"])
@pytest.mark.parametrize("objective", ["pointwise", "pairwise", "softmax", "poly1"])
def test_both_forms_score_lists(data: Any, form: Any, objective: Any) -> None:
    system = dataclasses.replace(configure("rankt5").small(), form=form, objective=objective)
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    table = batch.table(model.net.scores(batch.pairs.embed(model.net)))
    assert table.shape == batch.grades.shape == (4, 3)
    loss = system.loss(model.net, batch)
    loss.value.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.net.parameters() if p.grad is not None)
    assert loss.figures["loss"] == loss.value


def test_the_decoders_score_is_the_logit_of_the_spare_token(data: Any) -> None:
    system = dataclasses.replace(configure("rankt5").small(), form="encoder-decoder")
    net = system.start(data, 0).net
    assert isinstance(net, StepScorer)
    ids = torch.tensor([[5, 9, 11, 6]])
    states = net.model.states(ids)
    table = net.model.embedding.table
    last = net.decoder(table[None, [net.start]], Mask.remember(states))[0, -1]
    torch.testing.assert_close(net.scores(net(ids))[0], table[net.token] @ last)
    assert build(net.spec()).spec() == net.spec()


def test_padding_and_order_change_no_score(data: Any) -> None:
    for form in ("encoder", "encoder-decoder"):
        model = dataclasses.replace(configure("rankt5").small(), form=form).start(data, 0)
        assert isinstance(model, PairModel)
        documents = list(data.documents[:9])
        queries = [data.queries[0]] * 9
        together = model.pair_scores(queries, documents)
        np.testing.assert_allclose(model.pair_scores(queries, documents[::-1])[::-1], together, rtol=1e-5, atol=1e-6)
        alone = [model.pair_scores([q], [d])[0] for q, d in zip(queries, documents, strict=True)]
        np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


def test_lists_hold_answers_and_wrong_documents(data: Any) -> None:
    system = dataclasses.replace(configure("rankt5").small(), candidates=6, negatives=8)
    model = system.start(data, 0)
    batches = system.batches(model, data, 0)
    first, again, other = batches(0, 0.0), batches(0, 0.9), batches(1, 0.0)
    assert torch.equal(first.pairs.ids, again.pairs.ids)
    assert not torch.equal(first.pairs.ids, other.pairs.ids)
    assert (first.grades.sum(1) > 0).all()
    assert ((first.grades == 0) & first.counted).any(1).all()
    assert first.counted.sum() == len(first.pairs.ids)
    halves = [first.shard(rank, 2) for rank in (0, 1)]
    assert sum(len(half.pairs.ids) for half in halves) == len(first.pairs.ids)
    assert torch.equal(torch.cat([half.counted for half in halves]), first.counted)


def test_graded_lists_share_the_target_by_grade() -> None:
    rows = {"query": [], "document": [], "grade": [], "split": []}  # type: ignore[var-annotated]
    for part in ("train", "validation", "test"):
        for i in range(12):
            for grade in (3, 1, 0):
                rows["query"].append(f"{part} thing number {i}")
                rows["document"].append(f"the {part} thing {i} graded {grade}, number {i}")
                rows["grade"].append(grade)
                rows["split"].append(part)
    data = task_named("search").read(Rows.of(rows))
    system = dataclasses.replace(configure("rankt5").small(), candidates=3, negatives=1)
    batch = system.batches(system.start(data, 0), data, 0)(0, 0.0)
    assert all(sorted(row.tolist()) == [0.0, 1.0, 3.0] for row in batch.grades)


def test_words_in_both_texts_are_marked() -> None:
    separator, pad = 2, 0
    embedding = OverlapEmbedding(TokenEmbedding(12, 4), separator, (1, pad))
    ids = torch.tensor([[1, 5, 6, 2, 7, 5, 5, 2, 0, 0], [1, 8, 2, 9, 2, 0, 0, 0, 0, 0]])
    marked = embedding.overlap(ids)
    assert marked.tolist() == [[0, 1, 0, 0, 0, 1, 1, 0, 0, 0], [0] * 10]
    difference = embedding(ids) - embedding.embedding(ids)
    torch.testing.assert_close(difference, marked[..., None] * embedding.mark)
    wide = torch.nn.functional.pad(ids, (0, 3), value=pad)
    assert torch.equal(embedding.overlap(wide)[:, :10], marked)


def test_overlap_is_marked_where_its_vector_is_trained(data: Any) -> None:
    small = configure("cross-encoder").small()
    marked = small.start(data, 0).net.model.embedding
    assert isinstance(marked, OverlapEmbedding)
    assert marked.mark.requires_grad
    assert not isinstance(
        dataclasses.replace(small, overlap=False).start(data, 0).net.model.embedding, OverlapEmbedding
    )
