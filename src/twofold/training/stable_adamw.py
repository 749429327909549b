"""StableAdamW: AdamW whose step shrinks, tensor by tensor, where the second moment lags behind the gradient.

Wortsman et al. 2023, "Stable and low-precision training for large-scale vision-language models",
https://arxiv.org/abs/2304.13013, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class StableAdamW(torch.optim.Optimizer):
    """AdamW with the update clipping of AdaFactor in place of gradient clipping.

    With debiased moments m and v of the gradient g, each tensor's step is `lr / max(1, RMS)`,
    RMS = √mean(g² / max(v, eps²)): a gradient that v did not see coming moves the weights no further than others.

    Args:
        parameters: tensors, or groups of them with `weight_decay`.
        lr: learning rate.
        betas: how long the two moments remember.
        eps: added to the second moment's root.
        weight_decay: decoupled decay, `lr / max(1, RMS)` times as much a step.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 1e-5,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every tensor that has a gradient."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            ages: dict[float, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["step"] += 1
                ages.setdefault(float(state["step"]), []).append(parameter)
            for age, alike in ages.items():  # a head may get its first gradient long after the trunk
                self._move(group, alike, age)
        return value

    def _move(self, group: dict[str, Any], parameters: list[Tensor], age: float) -> None:
        states = [self.state[p] for p in parameters]
        gradients: list[Any] = [p.grad for p in parameters]
        first = [state["exp_avg"] for state in states]
        second = [state["exp_avg_sq"] for state in states]
        beta1, beta2 = (_debiased(beta, age) for beta in group["betas"])
        torch._foreach_lerp_(first, gradients, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, gradients, gradients, 1 - beta2)

        lagged = torch._foreach_maximum(second, group["eps"] ** 2)
        ratio = torch._foreach_div(torch._foreach_mul(gradients, gradients), lagged)
        shrunk = [group["lr"] / max(1.0, float(r.mean().sqrt())) for r in ratio]
        torch._foreach_mul_(parameters, [1 - rate * group["weight_decay"] for rate in shrunk])
        root = torch._foreach_sqrt(second)
        torch._foreach_add_(root, group["eps"])
        torch._foreach_addcdiv_(parameters, first, root, [-rate for rate in shrunk])


def _debiased(beta: float, step: float) -> float:
    """The decay that makes a running mean from zero a mean of what was seen so far."""
    return float(beta * (1 - beta ** (step - 1)) / (1 - beta**step))
