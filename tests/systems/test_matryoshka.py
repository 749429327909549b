"""Matryoshka [202]: what must hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from twofold import api
from twofold.catalog import Steps, configure
from twofold.decoding.cascade import thresholds
from twofold.errors import UserError
from twofold.objectives import info_nce
from twofold.parts import Cascade, NestedHeads, PrefixHead, principal
from twofold.tasks import load
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_images, small_model, small_rows
from twofold.tasks.search.stages import StagedIndex

ROWS = small_rows()


def system(**options):
    return dataclasses.replace(configure("matryoshka").small(), **{"of_options": {"judged": 0.0}, **options})


@pytest.fixture(scope="module")
def data():
    return task_named("search").read(ROWS)


def gradients(made, data):
    model = made.start(data, 0)
    loss = made.loss(model.net, made.batches(model, data, 0)(0, 0.0))
    loss.value.backward()
    return loss, {name: p.grad for name, p in model.net.named_parameters() if p.grad is not None}


def test_the_whole_width_alone_is_the_plain_system(data) -> None:
    plain, before = gradients(dataclasses.replace(configure("gtr").small(), judged=0.0), data)
    nested, after = gradients(system(widths=(32,)), data)
    assert nested.value.item() == pytest.approx(plain.value.item(), rel=1e-6)
    assert before.keys() == after.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_base_losses_of_cut_models(data) -> None:
    """Each width's figure is what the base gives for vectors of that width, normalised after the cut."""
    made = system(widths=(8, 32), weights=(2.0, 1.0))
    model = made.start(data, 0)
    batch = made.batches(model, data, 0)(0, 0.0)
    loss = made.loss(model.net, batch)
    queries, documents = batch.queries.embed(model.net), batch.documents.embed(model.net)

    def by_hand(width: int) -> float:
        q, d = (torch.nn.functional.normalize(v[:, :width], dim=1) for v in (queries, documents))
        ids = {"query_ids": batch.query_ids, "document_ids": batch.document_ids}
        return info_nce(q, d, 0.05, two_way=True, **ids).value.item()

    assert loss.value.item() == pytest.approx(2 * by_hand(8) + by_hand(32), rel=1e-5)
    assert loss.figures["loss@8"].item() == pytest.approx(by_hand(8), rel=1e-5)


def test_a_trained_model_is_used_at_its_width(data) -> None:
    model = system(width=8, lookup="adaptive", narrow=4, shortlist=20).fit(data, Steps(2)).model
    vectors = model.encode(data.documents[:5]).values
    assert vectors.shape == (5, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    index = model.build_index(data.documents)
    assert isinstance(index, StagedIndex)
    assert index.multiplications == len(index) * 5 + 20 * 8
    whole = model.cut(None).encode(data.documents[:5]).values
    torch.testing.assert_close(vectors, torch.nn.functional.normalize(whole[:, :8], dim=1))


def test_apply_only_cuts_without_steps() -> None:
    model = small_model()
    cut = api.apply("matryoshka", model, ROWS, steps=0, width=8)
    expected = torch.nn.functional.normalize(model.encode(["a lamp"]).values[:, :8], dim=1)
    torch.testing.assert_close(cut.encode(["a lamp"]).values, expected)
    assert cut.history[-1]["report"] == {"width": 8, "widths": [8, 16, 32]}
    assert model.spec.get("width") is None


def test_apply_trains_the_last_layers(tmp_path) -> None:
    model = small_model()
    changed = api.apply("matryoshka", model, ROWS, steps=3, tune_layers=1, width=16, batch=8)
    before, after = model.net.state_dict(), changed.net.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any("embedding" in name or ".layers.0." in name for name in moved)
    changed.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").encode(["a lamp"]).values, changed.encode(["a lamp"]).values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8, 64)}, "beyond the vectors' width, 32"),
        ({"widths": (16, 8)}, "rising order"),
        ({"width": 33}, "width=33 is wider than the vectors, 32"),
        ({"width": 8, "narrow": 16}, "narrow=16 is wider than the vectors, 8"),
        ({"of": "bm25"}, "bm25"),
    ],
)
def test_what_does_not_fit_is_refused(data, options, message) -> None:
    with pytest.raises(UserError, match=message):
        system(**options).start(data, 0)


@pytest.fixture(scope="module")
def images():
    return task_named("classify").read(small_images())


def pictures(**options):
    return system(hidden=16, dim=16, batch=16, **options)


def test_one_width_alone_is_the_plain_perceptron(images) -> None:
    plain, before = gradients(dataclasses.replace(configure("pixel-mlp").small(), dim=16), images)
    nested, after = gradients(pictures(widths=(16,)), images)
    assert nested.value.item() == plain.value.item()
    assert len(before) == len(after) == 6
    for gradient, other in zip(before.values(), after.values(), strict=True):
        assert torch.equal(gradient, other)


@pytest.mark.parametrize("shared", [False, True])
def test_each_prefix_has_its_own_loss(images, shared) -> None:
    made = pictures(widths=(4, 8, 16), shared_head=shared)
    model = made.start(images, 0)
    batch = made.batches(model, images, 0)(0, 0.0)
    loss = made.loss(model.net, batch)
    vectors = batch.inputs.embed(model.net.encoder)
    by_hand = sum(torch.nn.functional.cross_entropy(model.net.head(vectors[:, :m]), batch.values) for m in (4, 8, 16))
    torch.testing.assert_close(loss.value, by_hand, rtol=1e-5, atol=1e-6)
    assert any(isinstance(part, PrefixHead) for part in model.net.modules()) == shared


@pytest.mark.parametrize("answer", ["head", "cascade", "neighbours"])
def test_answers_survive_saving(images, answer, tmp_path) -> None:
    model = pictures(widths=(4, 8, 16), width=8, answer=answer).fit(images, Steps(3)).model
    inputs, _ = images.part("test")
    model.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").logits(inputs), model.logits(inputs))
    assert model.spec["widths"] == [4, 8, 16]


def test_neighbours_are_the_nearest_training_items(images) -> None:
    model = pictures(widths=(4, 16), width=4, answer="neighbours", distance="euclidean").fit(images, Steps(3)).model
    (train, labels), (test, _) = images.part("train"), images.part("test")
    known, asked = model.embed(train)[:, :4], model.embed(test)[:, :4]
    nearest = np.square(asked[:, None] - known[None]).sum(2).argmin(1)
    assert np.array_equal(model.probabilities(test).argmax(1), labels[nearest])


def test_a_cascade_goes_on_until_it_is_sure() -> None:
    head, states = NestedHeads([2, 4, 8], 3), torch.randn(50, 8) * 3
    cascade = Cascade(head, [2, 4, 8], [0.6, 0.7])
    logits, used = cascade.decide(states)
    assert set(used.tolist()) == {2, 4, 8}
    for row in range(50):
        for width, threshold in ((2, 0.6), (4, 0.7), (8, 0.0)):
            expected = head(states[row, :width])
            if expected.softmax(-1).max() >= threshold:
                break
        assert used[row] == width
        torch.testing.assert_close(logits[row], expected)
    always, never = Cascade(head, [2, 4, 8], [0.0, 0.0]), Cascade(head, [2, 4, 8], [2.0, 2.0])
    torch.testing.assert_close(always(states), head(states[:, :2]))
    torch.testing.assert_close(never(states), head(states))


def test_thresholds_are_the_best_on_held_out_items() -> None:
    """No other pair of grid values makes the two-step cascade right more often; sure mistakes are passed on."""
    made = np.random.default_rng(0)
    classes = made.integers(0, 3, 200)
    narrow, wide = (made.dirichlet(np.ones(3), 200) + share * np.eye(3)[classes] for share in (0.3, 0.8))
    narrow, wide = (p / p.sum(1, keepdims=True) for p in (narrow, wide))

    def right(threshold: float) -> int:
        answer = np.where(narrow.max(1) >= threshold, narrow.argmax(1), wide.argmax(1))
        return int((answer == classes).sum())

    (found,) = thresholds([narrow, wide], classes)
    every = [right(t) for t in np.linspace(0, 1, 101)]
    assert right(found) == max(every)
    assert found == pytest.approx(np.linspace(0, 1, 101)[int(np.argmax(every))])
    assert thresholds([narrow], classes) == ()


def test_principal_components_are_found_on_what_is_given_alone(images) -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3, 2, 1, 1, 1])
    cut = principal(vectors, 2)
    with torch.no_grad():
        found = cut(vectors)
    theirs = PCA(2, svd_solver="full").fit(vectors.numpy())
    np.testing.assert_allclose(found.abs().numpy(), np.abs(theirs.transform(vectors.numpy())), rtol=1e-4, atol=1e-4)
    changed = dataclasses.replace(
        images, inputs=np.where((images.parts == "test")[:, None, None, None], 0, images.inputs)
    )
    plain = dataclasses.replace(configure("pixel-mlp").small(), answer="neighbours", components=3)
    first, other = (plain.fit(d, Steps(2)).model.net.head for d in (images, changed))
    assert torch.equal(first.encoder.weight, other.encoder.weight)
    with pytest.raises(UserError, match="principal components"):
        principal(vectors, 7)


def test_texts_are_classified_by_the_last_layers(tmp_path) -> None:
    data = task_named("classify").read(small_rows())
    made = system(widths=(8, 16, 32), answer="cascade")
    model = made.fit(data, Steps(3)).model
    texts, _ = data.part("test")
    assert model.embed(texts[:4]).shape == (4, 32)
    assert np.allclose(model.probabilities(texts).sum(1), 1)
    assert 8 <= model.history[-1]["report"]["mean_width"] <= 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 3, "widths": (4, 16)}, "no head reads width=3; use 4 to 16"),
        ({"widths": (4, 32)}, "beyond the vectors' width, 16"),
    ],
)
def test_widths_that_no_head_reads_are_refused(images, options, message) -> None:
    with pytest.raises(UserError, match=message):
        pictures(**options).start(images, 0)
