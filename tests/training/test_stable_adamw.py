"""StableAdamW against its algorithm written out, and where it is AdamW."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from twofold.catalog import Steps
from twofold.objectives import Loss
from twofold.training import Recipe, train
from twofold.training.stable_adamw import StableAdamW


def test_it_is_its_algorithm() -> None:
    torch.manual_seed(0)
    weights = nn.Parameter(torch.randn(3, 4, dtype=torch.float64))
    lr, (beta1, beta2), eps, decay = 0.1, (0.9, 0.98), 1e-6, 0.3
    optimizer = StableAdamW([weights], lr, (beta1, beta2), eps, decay)
    expected, m, v = weights.detach().clone(), torch.zeros(3, 4).double(), torch.zeros(3, 4).double()
    clipped = 0
    for step in range(1, 9):
        gradient = torch.randn(3, 4).double() * (50.0 if step == 5 else 1.0)
        weights.grad = gradient.clone()
        optimizer.step()
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        mean, square = m / (1 - beta1**step), v / (1 - beta2**step)
        rms = math.sqrt(float((gradient**2 / square.clamp(min=eps**2)).mean()))
        clipped += rms > 1
        rate = lr / max(1.0, rms)
        expected = expected - rate * decay * expected - rate * mean / (square.sqrt() + eps)
        torch.testing.assert_close(weights.detach(), expected, rtol=1e-9, atol=1e-12)
    assert 0 < clipped < 8


def test_steady_gradients_are_plain_adamw() -> None:
    torch.manual_seed(0)
    start, gradient = torch.randn(5), torch.randn(5)
    found = []
    for kind in (StableAdamW, torch.optim.AdamW):
        weights = nn.Parameter(start.clone())
        optimizer = kind([weights], lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
        for _ in range(5):
            weights.grad = gradient.clone()
            optimizer.step()
        found.append(weights.detach())
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


def test_a_tensor_that_joins_late_is_as_fresh_as_at_the_start() -> None:
    torch.manual_seed(0)
    gradients, start = torch.randn(5, 4), torch.randn(4)
    found = []
    for joins in (0, 60):
        trunk, head = nn.Parameter(torch.randn(3)), nn.Parameter(start.clone())
        optimizer = StableAdamW([trunk, head], lr=0.1, weight_decay=0.1)
        for step in range(joins + 5):
            trunk.grad = torch.randn(3)
            head.grad = gradients[step - joins].clone() if step >= joins else None
            optimizer.step()
        found.append(head.detach())
    assert torch.equal(*found)


@pytest.mark.parametrize("stops", [False, True])
def test_a_run_that_stopped_goes_on_the_same(tmp_path: object, stops: bool) -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    start = {k: v.clone() for k, v in net.state_dict().items()}
    recipe = Recipe(lr=0.05, optimizer="stable-adamw", schedule="trapezoid", clip=0)

    def batches(step: int, _: float) -> torch.Tensor:
        return torch.randn(4, 3)

    def loss(net: nn.Module, batch: torch.Tensor) -> Loss:
        return Loss(net(batch).square().mean())

    train(net, loss, batches, Steps(6), recipe)
    whole = [p.clone() for p in net.parameters()]
    net.load_state_dict(start)
    if stops:
        train(net, loss, batches, Steps(6), recipe, folder=f"{tmp_path}/run", until=0.5)
    train(net, loss, batches, Steps(6), recipe, folder=f"{tmp_path}/run")
    assert all(torch.equal(a, b) for a, b in zip(whole, net.parameters(), strict=True))
