"""Stationary representations [120]: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure
from twofold.data.rows import Rows
from twofold.errors import UserError
from twofold.measure.compatibility import average_accuracy, average_compatibility, matrix
from twofold.objectives import aligned
from twofold.parts import Directions, SimplexClassifier
from twofold.parts.simplex import simplex
from twofold.tasks import load, task
from twofold.tasks.examples import small_images
from twofold.trials import traces


@pytest.mark.parametrize("classes", [2, 3, 10, 64, 1024])
def test_vertices_are_as_far_from_one_another_as_can_be(classes) -> None:
    w = simplex(classes).double()
    expected = torch.full((classes, classes), -1 / (classes - 1), dtype=torch.float64).fill_diagonal_(1)
    assert (w @ w.T - expected).abs().max() < 1e-6
    assert w.sum(0).abs().max() < 1e-5


def test_directions_are_fixed_and_unused_ones_change_nothing() -> None:
    few, more = SimplexClassifier(63, 64, 3), SimplexClassifier(63, 64, 9)
    assert not list(few.parameters())
    assert len(list(Directions(63, 64, 3).parameters())) == 1
    features = torch.randn(5, 63)
    assert few(features).shape == (5, 3)
    torch.testing.assert_close(more(features)[:, :3], few(features))
    torch.testing.assert_close(few.every(features)[:, :3], few(features))
    with pytest.raises(UserError, match="a simplex of 64 classes has 63 dimensions, and the features 32"):
        SimplexClassifier(32, 64, 3)
    with pytest.raises(UserError, match="set classes=9"):
        SimplexClassifier(7, 8, 9)


def test_alignment_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    new, old, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 0, 2])
    n, o = (v / v.norm(dim=1, keepdim=True) for v in (new, old))
    total = 0.0
    for i in range(4):
        away = sum(float(torch.exp(10 * (o[i] @ n[j]))) for j in range(4) if labels[j] != labels[i])
        total += -10 * float(o[i] @ n[i]) + float(np.log(away))
    assert aligned(new, old, labels, 10.0).value.item() == pytest.approx(total / 4, rel=1e-5)
    with pytest.raises(UserError, match="one class only"):
        aligned(new, old, torch.zeros(4))


def test_compatibility_counts_pairs_that_gain() -> None:
    c = np.array([[0.5, 0.0, 0.0], [0.6, 0.7, 0.0], [0.5, 0.8, 0.9]])
    assert average_compatibility(c) == pytest.approx(2 / 3)
    assert average_accuracy(c) == pytest.approx((0.5 + 0.6 + 0.7 + 0.5 + 0.8 + 0.9) / 6)


def test_a_model_compared_with_itself_is_itself() -> None:
    random = np.random.default_rng(0)
    queries, gallery = random.normal(size=(30, 5)), random.normal(size=(40, 5))
    asked, known = random.integers(0, 3, 30), random.integers(0, 3, 40)
    c = matrix([queries, 2 * queries], [gallery, gallery], asked, known)
    assert (c == c[0, 0]).all()
    assert average_compatibility(c) == 0


def parts(labels: tuple[str, ...]) -> Rows:
    rows = small_images()
    return rows.take([i for i, label in enumerate(rows.columns["label"]) if label in labels])


def system(id: str = "stationary-simplex", **options):
    return dataclasses.replace(configure(id).small(), **options)


def test_an_update_knows_old_and_new_classes(tmp_path) -> None:
    first = system(lr=1e-2).fit(task("classify").read(parts(("row", "column"))), Steps(60)).model
    before = {name: t.clone() for name, t in first.net.state_dict().items()}
    second = system(lr=1e-2, steps=80, hidden=32).apply(first, small_images())
    assert all(torch.equal(t, before[name]) for name, t in first.net.state_dict().items())
    assert second.labels == (*first.labels, "corner")
    assert torch.equal(second.net.head.directions, first.net.head.directions)
    data = task("classify").read(small_images())
    inputs, values = data.part("test")
    told = [p.answer for p in second.predict(inputs)]
    assert np.mean([a == data.target.labels[v] for a, v in zip(told, values, strict=True)]) > 0.6
    second.save(tmp_path / "new")
    assert np.array_equal(load(tmp_path / "new").logits(inputs), second.logits(inputs))
    report = api.study("stationary-simplex", first, small_images(), new=str(tmp_path / "new"))
    cosines = (first.embed(inputs) * second.embed(inputs)).sum(1)
    assert (cosines > 0).mean() > 0.9
    assert report.tables[0].rows[0][2] is None
    assert 0 <= report.figures["compatibility"] <= 1


def test_the_first_model_has_cross_entropy_alone() -> None:
    data = task("classify").read(small_images())
    made = system()
    model = made.start(data, 0)
    batch = made.batches(model, data, 0)(0, 0.0)
    logits = model.net.encoder(batch.inputs.pixels) @ simplex(64).T
    expected = torch.nn.functional.cross_entropy(logits, batch.values)
    torch.testing.assert_close(made.loss(model.net, batch).value, expected)
    old = model.copy().net.encoder
    both = made.objective(model.net, old, batch).value
    features = model.net.encoder(batch.inputs.pixels)
    near = aligned(features, features, batch.values, 10.0).value
    torch.testing.assert_close(both, 0.1 * expected + 0.9 * near)


def test_the_stream_is_the_same_for_the_same_seed_and_is_traced() -> None:
    for id in ("stationary-simplex", "trainable-updates"):
        arm = system(id)
        first, second = (arm.run(None, None, seed=3).figures for _ in range(2))
        assert first == second
    assert traces.trace(configure("stationary-simplex").claim.arms[1], study=True)


def test_what_does_not_fit_is_refused(tmp_path) -> None:
    data = task("classify").read(small_images())
    model = system().fit(data, Steps(2)).model
    other = system(classes=32).fit(data, Steps(2)).model
    other.save(tmp_path / "other")
    with pytest.raises(UserError, match="makes 63 features and"):
        system(new=str(tmp_path / "other")).run(model, small_images())
    with pytest.raises(UserError, match="two models"):
        system().run(model, small_images())
    with pytest.raises(UserError, match="64 directions and classes=32"):
        system(classes=32).apply(model, small_images())
    with pytest.raises(UserError, match="set tasks=3"):
        system(tasks=4).run(None, small_images())
