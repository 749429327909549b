"""Adaptive relevance margins [89], and the fixed margin that they are compared with: what must hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.objectives import margins
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows

LOSSES = (margins.static, margins.adaptive, margins.distributed)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def data() -> Any:
    return task_named("search").read(small_rows())


def test_equal_documents_have_no_margin_and_the_full_target() -> None:
    queries, documents = random(3, 8), random(3, 8, seed=1)
    found = margins.adaptive(queries, documents, documents)
    assert found.figures["margin"].item() == pytest.approx(0.0, abs=1e-12)
    assert found.figures["target"].item() == pytest.approx(1.0)
    assert found.value.item() == pytest.approx(1.0)  # a collapsed encoder's loss


def test_distributed_over_one_triple_is_adaptive() -> None:
    triple = random(1, 8), random(1, 8, seed=1), random(1, 8, seed=2)
    for detach in (False, True):
        one, other = margins.distributed(*triple, detach=detach), margins.adaptive(*triple, detach=detach)
        torch.testing.assert_close(one.value, other.value)


def test_two_triples_have_closed_forms() -> None:
    """Vectors in the plane, by their angles."""
    q, p, n = (0.1, 0.9), (0.3, 1.0), (1.2, -0.5)

    def vectors(angles: tuple[float, float]) -> torch.Tensor:
        return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)

    def cos(a: float, b: float) -> float:
        return math.cos(a - b)

    margin = [cos(q[i], p[i]) - cos(q[i], n[i]) for i in (0, 1)]
    target = [[(cos(p[i], n[j]) + 1) / 2 for j in (0, 1)] for i in (0, 1)]
    triple = vectors(q), vectors(p), vectors(n)
    pairs = [(i, j) for i in (0, 1) for j in (0, 1)]
    expected = {
        "static": sum((m - 0.3) ** 2 for m in margin) / 2,
        "adaptive": sum((margin[i] - target[i][i]) ** 2 for i in (0, 1)) / 2,
        "distributed": sum((margin[j] - target[i][j]) ** 2 for i, j in pairs) / 4,
        "in batch": sum((cos(q[i], p[i]) - cos(q[i], n[j]) - target[i][j]) ** 2 for i, j in pairs) / 4,
        "static in batch": sum((cos(q[i], p[i]) - cos(q[i], n[j]) - 0.3) ** 2 for i, j in pairs) / 4,
        "absolute": sum(abs(margin[j] - target[i][j]) for i, j in pairs) / 4,
        "soft": sum(math.log1p(math.exp(-(margin[j] - target[i][j]))) for i, j in pairs) / 4,
    }
    found = {
        "static": margins.static(*triple, target=0.3),
        "adaptive": margins.adaptive(*triple),
        "distributed": margins.distributed(*triple),
        "in batch": margins.adaptive(*triple, in_batch=True),
        "static in batch": margins.static(*triple, target=0.3, in_batch=True),
        "absolute": margins.distributed(*triple, error=margins.absolute),
        "soft": margins.distributed(*triple, error=margins.soft),
    }
    assert {name: loss.value.item() for name, loss in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_lengths_of_vectors_do_not_matter(loss: Any) -> None:
    triple = random(4, 8), random(4, 8, seed=1), random(4, 8, seed=2)
    torch.testing.assert_close(loss(*(3 * v for v in triple)).value, loss(*triple).value)


def test_gradients_flow_through_targets_unless_they_are_detached() -> None:
    # A query at right angles to both documents: with targets detached, they feel the query alone.
    queries = torch.tensor([[0.0, 0.0, 1.0]])
    found = {}
    for detach in (False, True):
        right = torch.tensor([[1.0, 0.2, 0.0]], requires_grad=True)
        margins.distributed(queries, right, torch.tensor([[0.2, 1.0, 0.0]]), detach=detach).value.backward()
        assert right.grad is not None
        found[detach] = right.grad[0, :2].abs().sum().item()
    assert found[False] > 0.01
    assert found[True] == pytest.approx(0.0, abs=1e-7)


def test_negatives_are_drawn_anew_and_never_answer(data: Any) -> None:
    system = configure("adaptive-margin").small()
    model = system.start(data, 0)
    batches = system.batches(model, data, 0)
    drawn = []
    for step in (0, 1, 0):
        batch = batches(step, 0.0)
        count = len(batch.query_ids)
        assert batch.owners.tolist() == list(range(count))
        wrong = batch.document_ids[count:].tolist()
        assert all(d not in data.relevant[q] for q, d in zip(batch.query_ids.tolist(), wrong, strict=True))
        assert set(wrong) <= set(data.pool("train").tolist())
        drawn.append(wrong)
    assert drawn[0] == drawn[2] != drawn[1]


def test_the_loss_of_a_batch_is_the_objectives(data: Any) -> None:
    for id, expected in (("adaptive-margin", margins.distributed), ("static-margin", margins.static)):
        system = configure(id).small()
        model = system.start(data, 0)
        batch = system.batches(model, data, 0)(0, 0.0)
        vectors = batch.documents.embed(model.net)
        np.testing.assert_allclose(vectors.detach().norm(dim=1), 1.0, rtol=1e-5)
        count = len(batch.query_ids)
        by_hand = expected(batch.queries.embed(model.net), vectors[:count], vectors[count:])
        torch.testing.assert_close(system.loss(model.net, batch).value, by_hand.value)


def test_a_collapsed_encoder_is_told(data: Any) -> None:
    system = configure("adaptive-margin").small()
    model = system.start(data, 0)
    with torch.no_grad():
        model.net.model.embedding.tokens.weight.copy_(torch.ones_like(model.net.model.embedding.tokens.weight))
    with pytest.warns(UserWarning, match="nearly the same vector of every document"):
        system.loss(model.net, system.batches(model, data, 0)(0, 0.0))


def test_distributed_targets_with_in_batch_margins_are_refused(data: Any) -> None:
    system = configure("adaptive-margin").small()
    with pytest.raises(UserError, match="set targets=adaptive, or leave in_batch out"):
        dataclasses.replace(system, in_batch=True).fit(data, Steps(1))
    assert dataclasses.replace(system, in_batch=True, targets="adaptive").fit(data, Steps(1)).history is not None
