"""A network small enough to train in milliseconds, with all that a checkpoint has to hold: dropout, a buffer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twofold.objectives import Loss


class Tiny(nn.Module):
    """Tokens to a number; the running mean is a buffer that training changes."""

    def __init__(self, seed: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(11, 8)
            self.mix = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        states = self.embed(ids).mean(1)
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(states.detach().mean(0), alpha=0.1)
        return self.mix(states - self.mean).squeeze(-1)


def batches(step: int, progress: float) -> dict[str, Tensor]:
    """Drawn from torch's generator, which the loop has set for the step; batches differ in length."""
    return {"target": torch.randn(4), "ids": torch.randint(11, (4, 3 + step % 3))}


def loss(net: nn.Module, batch: dict[str, Tensor]) -> Loss:
    value = (net(batch["ids"]) - batch["target"]).square().mean()
    return Loss(value, {"loss": value.detach(), "double": 2 * value.detach()})


def same(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks are equal to the bit."""
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
