"""DIMCO [103]: what must hold."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.coding import symbols
from twofold.data.batches import ClassOrder
from twofold.errors import UserError
from twofold.objectives.information import entropy, information, informative_codes, redundancy
from twofold.parts import CodeClasses, CodeNeighbours, look_up
from twofold.tasks import load, task
from twofold.tasks.classify.codes import few_shot
from twofold.tasks.classify.task import precision
from twofold.tasks.examples import small_images, small_rows
from twofold.tasks.search.vectors import Codes, Tables


def chances(batch: int, length: int, size: int, seed: int = 0, sharp: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(batch, length, size, generator=generator)).softmax(-1)


def test_information_lies_between_none_and_what_symbols_and_labels_hold() -> None:
    for seed in range(20):
        p, labels = chances(24, 3, 5, seed), torch.arange(24) % (2 + seed % 4)
        told = information(p, labels)
        most = min(math.log(5), float(entropy(labels.bincount() / 24)))
        assert (told >= -1e-6).all()
        assert (told <= most + 1e-6).all()


def test_information_is_exact_on_a_table() -> None:
    """P(z = 1 | y): 0.8 of class 0, 0.3 of class 1; each class twice. Averages come before the entropy."""
    p = torch.tensor([[0.1, 0.9], [0.3, 0.7], [0.9, 0.1], [0.5, 0.5]])[:, None]

    def h(x: float) -> float:
        return -x * math.log(x) - (1 - x) * math.log(1 - x)

    expected = h(0.55) - (h(0.8) + h(0.3)) / 2
    assert information(p, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(expected, rel=1e-5)


def test_perfect_codes_tell_all_of_the_class() -> None:
    labels = torch.arange(12) % 4
    one = torch.nn.functional.one_hot(labels, 4).float()[:, None]
    assert information(one, labels).item() == pytest.approx(math.log(4), rel=1e-5)
    two = torch.nn.functional.one_hot(torch.stack([labels // 2, labels % 2], 1), 2).float()
    torch.testing.assert_close(information(two, labels), torch.full((2,), math.log(2)))
    assert redundancy(two).item() == pytest.approx(0, abs=1e-5)
    twice = two[:, [0, 0]]
    assert redundancy(twice).item() == pytest.approx(math.log(2), rel=1e-4)


def test_redundancy_is_the_divergence_of_pairs() -> None:
    p = chances(7, 3, 4)
    total = 0.0
    for i in range(3):
        for j in range(i + 1, 3):
            joint = torch.einsum("bk,bl->kl", p[:, i], p[:, j]) / 7
            apart = p[:, i].mean(0)[:, None] * p[:, j].mean(0)
            total += float((joint * (joint / apart).log()).sum())
    assert redundancy(p).item() == pytest.approx(total, rel=1e-4)
    loss = informative_codes(p.log(), torch.arange(7) % 2, 0.5)
    told = information(p, torch.arange(7) % 2).sum().item()
    assert loss.value.item() == pytest.approx(-told + 0.5 * total, rel=1e-4)


@pytest.mark.parametrize("size", [2, 3, 5, 16, 17, 300])
def test_packing_loses_nothing(size, tmp_path) -> None:
    random = np.random.default_rng(size)
    values = random.integers(0, size, (11, 7))
    packed = symbols.pack(values, size)
    assert packed.shape[1] == math.ceil(7 * math.ceil(math.log2(size)) / 8)
    assert (symbols.unpack(packed, 7, size) == values).all()
    codes = Codes.of(torch.from_numpy(values), size)
    assert codes.nbytes == packed.nbytes
    codes.save(tmp_path / "codes.safetensors")
    again = Codes.open(tmp_path / "codes.safetensors")
    assert (again.take([3, 1]).joined(again.take([0])).values.numpy() == values[[3, 1, 0]]).all()
    torch.testing.assert_close(codes.score(codes), torch.from_numpy((values[:, None] == values[None]).sum(2)).float())


def test_damaged_codes_are_refused(tmp_path) -> None:
    codes = Codes.of(torch.full((2, 3), 4), 5)
    worse = dataclasses.replace(codes, packed=torch.full_like(codes.packed, 255))
    with pytest.raises(UserError, match="damaged"):
        _ = worse.values
    worse.save(tmp_path / "codes.safetensors")
    opened = Codes.open(tmp_path / "codes.safetensors")  # reads no code yet
    with pytest.raises(UserError, match=r"damaged.*build the index again"):
        _ = opened.take([0]).values
    dataclasses.replace(worse, length=9).save(tmp_path / "codes.safetensors")
    with pytest.raises(UserError, match="build the index again"):
        Codes.open(tmp_path / "codes.safetensors")
    with pytest.raises(UserError, match="they must be 0 to 3"):
        symbols.pack(np.array([[4]]), 4)


def test_a_look_up_is_the_sum_over_symbols() -> None:
    tables, codes = chances(5, 4, 6).log(), torch.randint(0, 6, (9, 4))
    by_hand = torch.stack([sum(tables[:, i, codes[d, i]] for i in range(4)) for d in range(9)], 1)
    torch.testing.assert_close(look_up(tables, codes), by_hand)
    kept = Codes.of(codes, 6)
    torch.testing.assert_close(Tables(tables).score(kept), by_hand)
    positions, scores = Tables(tables).top(kept, 3)
    assert (positions == np.argsort(-by_hand.numpy(), axis=1, kind="stable")[:, :3]).all()
    assert np.allclose(scores, np.take_along_axis(by_hand.numpy(), positions, 1))
    known = CodeNeighbours(9, 4, 6, 2)
    likely = torch.nn.functional.one_hot(codes, 6).float().log()
    known.know(likely, torch.zeros(9, 2))
    torch.testing.assert_close(known.likeness(tables), by_hand)


def test_classes_are_mean_distributions() -> None:
    p, labels = chances(6, 2, 3), torch.tensor([0, 1, 0, 1, 1, 0])
    head = CodeClasses(2, 2, 3).know(p.log(), labels)
    asked = chances(1, 2, 3, seed=5)
    for c in range(2):
        mean = p[labels == c].mean(0)
        expected = sum(float((asked[0, i] * mean[i]).sum().log()) for i in range(2))
        assert head(asked.log())[0, c].item() == pytest.approx(expected, rel=1e-5)


def test_search_by_codes_survives_saving_and_joining(tmp_path) -> None:
    data = task("search").read(small_rows())
    model = configure("dimco").small().fit(data, Steps(5)).model
    texts = list(data.documents[:20])
    codes, tables = model.encode(texts), model.encode([data.queries[0]], side="query")
    assert isinstance(codes, Codes)
    assert codes.values.shape == (20, 4)
    hits = model.index(texts).search(data.queries[0], 5)
    scores = look_up(tables.values, codes.values)[0]
    assert [hit.score for hit in hits] == pytest.approx(scores.sort(descending=True).values[:5].tolist(), rel=1e-5)
    assert model._index.nbytes == 20
    pairs = model.pair_scores([data.queries[0]] * 20, texts)
    assert pairs.tolist() == pytest.approx(scores.tolist(), rel=1e-5)
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").search(data.queries[0], 5) == hits
    with pytest.raises(UserError, match="cannot be cut"):
        model.cut(2)


@pytest.fixture(scope="module")
def images():
    return task("classify").read(small_images())


@pytest.mark.parametrize("options", [{}, {"answer": "neighbours"}, {"answer": "neighbours", "distance": "hamming"}])
def test_classifiers_learn_and_survive_saving(images, options, tmp_path) -> None:
    system = dataclasses.replace(configure("dimco").small(), lr=1e-2, **options)
    model = system.fit(images, Steps(60)).model
    found = task("classify").evaluate(model, images, gallery="answer" in options)
    assert found.figures["accuracy"] > 0.6
    assert ("map" in found.figures) == ("answer" in options)
    model.save(tmp_path / "model")
    inputs, _ = images.part("test")
    assert np.array_equal(load(tmp_path / "model").logits(inputs), model.logits(inputs))


def test_other_classes_from_a_few_examples(images) -> None:
    model = dataclasses.replace(configure("dimco").small(), lr=1e-2).fit(images, Steps(60)).model
    inputs, values = images.part("train")
    chosen = np.flatnonzero(values < 2)[:10]
    other = few_shot(model, inputs[chosen], [f"new {v}" for v in values[chosen]])
    assert set(other.labels) == {"new 0", "new 1"}
    test, true = images.part("test")
    answers = [p.answer for p in other.predict(test[true < 2])]
    assert np.mean([a == f"new {v}" for a, v in zip(answers, true[true < 2], strict=True)]) > 0.7
    with pytest.raises(UserError, match="at least two classes"):
        few_shot(model, inputs[:2], ["a", "a"])


def test_few_examples_need_a_classifier_of_codes(images) -> None:
    inputs, _ = images.part("train")
    plain = configure("pixel-mlp").small().fit(images, Steps(1)).model
    search = configure("dimco").small().fit(task("search").read(small_rows()), Steps(1)).model
    for model, what in ((plain, "a model for classify by pixel-mlp"), (search, "a model for search by dimco")):
        with pytest.raises(UserError, match=f"not {what}; train one with: twofold fit dimco"):
            few_shot(model, inputs[:2], ["a", "b"])


def test_precision_is_that_of_the_ranking() -> None:
    likeness = np.array([[0.9, 0.8, 0.7, 0.1]])
    assert precision(likeness, np.array([0, 1, 0, 1]), np.array([0]))[0] == pytest.approx((1 + 2 / 3) / 2)


def test_batches_hold_several_of_each_class() -> None:
    labels = np.repeat([0, 1, 2, 3], [30, 20, 2, 9])
    order = ClassOrder(labels, 12, 3, seed=1)
    for step in range(8):
        counts = np.bincount(labels[order(step)], minlength=4)
        assert (counts == 3).all()
    few = ClassOrder(labels, 8, 4, seed=1)
    assert sorted(np.bincount(labels[few(0)], minlength=4)) == [0, 0, 4, 4]
    assert np.array_equal(few(5), ClassOrder(labels, 8, 4, seed=1)(5))
    with pytest.raises(UserError, match="at least two classes"):
        ClassOrder(np.zeros(9), 6, 3)


def test_what_says_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="one class only"):
        information(chances(4, 2, 3), torch.zeros(4, dtype=torch.long))
    with pytest.raises(UserError, match="size"):
        configure("dimco", size=1)
