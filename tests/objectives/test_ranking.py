"""Ranking losses against numbers worked out by hand."""

import math

import pytest
import torch

from twofold.objectives import ranking

SCORES = torch.tensor([[2.0, 0.5, -1.0], [0.0, 3.0, 9.0]], dtype=torch.float64)
GRADES = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
COUNTED = torch.tensor([[True, True, True], [True, True, False]])
PAIRS = [2.0 - 0.5, 2.0 + 1.0, 0.0 - 3.0]  # better minus worse, of what counts


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_pointwise():
    terms = [softplus(-2.0), softplus(0.5), softplus(-1.0), softplus(-0.0), softplus(3.0)]
    loss = ranking.pointwise(SCORES, GRADES, COUNTED)
    assert loss.value.item() == pytest.approx(sum(terms) / 5)
    assert loss.figures["loss"] == loss.value


def test_pairwise_and_hinge():
    assert ranking.pairwise(SCORES, GRADES, COUNTED).value.item() == pytest.approx(sum(softplus(-m) for m in PAIRS) / 3)
    margins = [max(0.0, 2.0 - m) for m in PAIRS]
    assert ranking.hinge(SCORES, GRADES, 2.0, COUNTED).value.item() == pytest.approx(sum(margins) / 3)


def test_list_softmax():
    first = math.log(1 + math.exp(-1.5) + math.exp(-3.0))
    second = math.log(1 + math.exp(3.0))
    loss = ranking.list_softmax(SCORES, GRADES, COUNTED)
    assert loss.value.item() == pytest.approx((first + second) / 2)
    assert loss.figures["accuracy"].item() == 0.5
    shared = ranking.list_softmax(SCORES[1:], GRADES[1:] * 2)
    total = math.log(1 + math.exp(3.0) + math.exp(9.0))
    assert shared.value.item() == pytest.approx(total - 4.5)


def test_queries_without_an_answer_do_not_count():
    grades = GRADES.clone()
    grades[1] = 0
    scores = SCORES.clone().requires_grad_()
    loss = ranking.list_softmax(scores, grades)
    assert loss.value.item() == pytest.approx(math.log(1 + math.exp(-1.5) + math.exp(-3.0)))
    loss.value.backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[1].any()
    assert ranking.pairwise(SCORES[1:], grades[1:]).value == 0


def test_margin_mse():
    positive, negative, teacher = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0])
    teacher.requires_grad_()
    loss = ranking.margin_mse(positive.requires_grad_(), negative, teacher)
    assert loss.value.item() == pytest.approx((1.0 + 4.0) / 2)
    loss.value.backward()
    assert teacher.grad is None
    assert positive.grad.tolist() == pytest.approx([1.0, -2.0])
