"""Distillation losses against torch's distributions and the limits that Hinton et al. give."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from twofold.objectives import distillation


@pytest.fixture
def pair():
    return torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_kl_is_the_divergence_times_temperature_squared(pair, temperature):
    student, teacher = pair
    p, q = Categorical(logits=teacher / temperature), Categorical(logits=student / temperature)
    forward = distillation.kl(student, teacher, temperature)
    reverse = distillation.kl(student, teacher, temperature, "reverse")
    torch.testing.assert_close(forward.value, kl_divergence(p, q).mean() * temperature**2)
    torch.testing.assert_close(reverse.value, kl_divergence(q, p).mean() * temperature**2)
    assert forward.figures["loss"] == forward.value != reverse.value


def test_at_high_temperature_the_gradient_matches_logits(pair):
    student, teacher = (x[0, 0] - x[0, 0].mean() for x in pair)
    student.requires_grad_()
    distillation.kl(student, teacher, temperature=1e4).value.backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 6, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kl_gradients_and_zero(pair, direction):
    student, teacher = pair
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: distillation.kl(s, teacher, 2.0, direction).value, (student,))
    assert distillation.kl(teacher, teacher, 2.0, direction).value.item() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_classes_that_cannot_be_add_nothing(pair, direction):
    student, teacher = pair
    expected = distillation.kl(student[..., :4], teacher[..., :4], 2.0, direction).value
    student, teacher = student.clone(), teacher.clone()
    student[..., 4:] = teacher[..., 4:] = -torch.inf
    student.requires_grad_()
    loss = distillation.kl(student, teacher, 2.0, direction)
    loss.value.backward()
    torch.testing.assert_close(loss.value, expected)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", ["kl", "mse", "cosine"])
def test_only_counted_positions_count_and_the_teacher_learns_nothing(pair, name):
    student, teacher = (x.clone().requires_grad_() for x in pair)
    loss = getattr(distillation, name)
    counted = torch.tensor([[True, False, True, False], [False] * 4, [True] * 4])
    value = loss(student, teacher, counted=counted).value
    torch.testing.assert_close(value, loss(student[counted], teacher[counted]).value)
    value.backward()
    assert teacher.grad is None
    assert torch.equal(student.grad.abs().sum(-1) > 0, counted)
    assert loss(student, teacher, counted=torch.zeros_like(counted)).value == 0


def test_mse_and_cosine_by_hand():
    student, teacher = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]])
    assert distillation.mse(student, teacher).value.item() == pytest.approx((2 / 2 + 9 / 2) / 2)
    assert distillation.cosine(student, teacher).value.item() == pytest.approx(((1 - 24 / 25) + 2) / 2)
