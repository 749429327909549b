"""Next-token prediction: which positions are judged, by which token."""

import math

import pytest
import torch

from twofold.objectives import causal


def by_hand(logits, ids, pairs):
    """Mean of −log p(ids[b, t + 1]) at logits[b, t] over the (b, t) in `pairs`."""
    losses = []
    for b, t in pairs:
        scores = logits[b, t].double()
        losses.append(math.log(scores.exp().sum()) - float(scores[ids[b, t + 1]]))
    return sum(losses) / len(losses)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 7, generator=generator)
    return logits, torch.randint(7, (2, 4), generator=generator)


def test_every_token_but_the_first_is_predicted_from_the_position_before_it(case):
    logits, ids = case
    loss = causal(logits, ids)
    assert loss.value.item() == pytest.approx(by_hand(logits, ids, [(b, t) for b in (0, 1) for t in (0, 1, 2)]))
    assert loss.figures["loss"] == loss.value
    assert not loss.figures["loss"].requires_grad


def test_counted_marks_targets(case):
    logits, ids = case
    counted = torch.zeros(2, 4, dtype=torch.bool)
    counted[0, 2] = counted[1, 1] = True
    counted[0, 0] = True  # the first token is nobody's target
    assert causal(logits, ids, counted).value.item() == pytest.approx(by_hand(logits, ids, [(0, 1), (1, 0)]))


@pytest.mark.parametrize("real", [[True, True, True, False], [False, True, True, True]], ids=["right", "left"])
def test_padding_is_neither_a_target_nor_predicted_from(case, real):
    logits, ids = case
    real = torch.tensor([real, [True] * 4])
    expected = by_hand(logits, ids, [(0, 0), (0, 1)] if real[0, 0] else [(0, 1), (0, 2)])
    expected = (2 * expected + 3 * by_hand(logits, ids, [(1, 0), (1, 1), (1, 2)])) / 5
    assert causal(logits, ids, real=real).value.item() == pytest.approx(expected)
    other = torch.where(real, ids, (ids + 1) % 7)
    everything = torch.ones_like(real)
    assert causal(logits, other, everything, real=real).value == causal(logits, ids, real=real).value


def test_only_judged_positions_get_a_gradient(case):
    logits, ids = case
    logits.requires_grad_()
    counted = torch.tensor([[True, True, False, True], [False, False, False, False]])
    causal(logits, ids, counted).value.backward()
    touched = logits.grad.abs().sum(-1) > 0
    assert touched.tolist() == [[True, False, True, False], [False] * 4]


def test_nothing_counted_is_zero_with_zero_gradient(case):
    logits, ids = case
    logits.requires_grad_()
    loss = causal(logits, ids, torch.zeros(2, 4, dtype=torch.bool))
    loss.value.backward()
    assert loss.value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_half_precision_logits_are_judged_in_full(case):
    logits, ids = case
    half = logits.bfloat16()
    assert causal(half, ids).value.dtype == torch.float32
    assert torch.equal(causal(half, ids).value, causal(half.float(), ids).value)
