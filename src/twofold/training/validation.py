"""Looking at a network from time to time while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from twofold.errors import UserError


@dataclass(frozen=True)
class Validation:
    """What to measure during training, and when.

    Attributes:
        measure: takes the network, in evaluation mode and without gradients, and gives figures. In distributed
            training every process calls it.
        at: the shares of the budget after which it is called, in (0, 1].
        keep: a figure; the network is left with the weights of the validation where it was best.
        direction: whether more or less of that figure is better.
    """

    measure: Callable[[nn.Module], Mapping[str, float]]
    at: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    keep: str | None = None
    direction: Literal["higher", "lower"] = "higher"

    def due(self, since: float, fraction: float) -> bool:
        """Whether a share of the budget in (since, fraction] calls for a validation."""
        return any(since < share <= fraction for share in self.at)

    def figures(self, net: nn.Module) -> dict[str, float]:
        """Measure now; the network comes back in the modes it was in."""
        with evaluating(net):
            return {name: float(value) for name, value in self.measure(net).items()}

    def better(self, figures: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Whether these figures are the ones to keep."""
        if self.keep is None:
            return False
        if self.keep not in figures:
            raise UserError(f"validation gives no figure {self.keep!r} to keep the best of; it gives {sorted(figures)}")
        if best is None:
            return True
        sign = 1 if self.direction == "higher" else -1
        return sign * figures[self.keep] > sign * best[self.keep]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients inside; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
