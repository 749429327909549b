"""What each part of a network costs in one pass, counted by hooks, and what this machine could do at best.

Counts are the same on any machine; the roofline (Williams et al. 2009, https://doi.org/10.1145/1498765.1498785)
turns them into the least time that a machine needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What was done.

    Attributes:
        flops: floating-point operations of matrix products, convolutions and attention (a multiply–add is two).
        bytes: of weights read: each call of a part reads its weights once, an embedding the rows it looks up.
        calls: how often it ran.
    """

    flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0

    def __truediv__(self, tokens: float) -> Cost:
        """Each token's share."""
        return Cost(self.flops / tokens, self.bytes / tokens, self.calls / tokens)


@dataclass(frozen=True)
class Counted:
    """Costs by the name of a module, those inside it included; the name of the whole network is empty."""

    parts: Mapping[str, Cost]

    @property
    def total(self) -> Cost:
        """Of the whole network."""
        return self.parts[""]


@dataclass
class _Count:
    names: dict[nn.Module, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    flops: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    calls: dict[str, float] = field(default_factory=dict)

    def add(self, into: dict[str, float], amount: float) -> None:
        """To everything that is running now."""
        for name in self.open:
            into[name] = into.get(name, 0.0) + amount


def count(net: nn.Module, call: Callable[[], Any] | None = None, *example: Any, **named: Any) -> Counted:
    """Counts what every module of `net` costs, without gradients and in evaluation mode.

    Args:
        net: a network.
        call: what runs it (a generation, say); None: `net(*example, **named)`.
    """
    found = _Count({module: name for name, module in net.named_modules()})
    training = [m for m in net.modules() if m.training]
    for module in training:
        module.training = False
    try:
        with ExitStack() as hooks, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            counter = hooks.enter_context(FlopCounterMode(display=False))
            marks: list[float] = []
            for module in found.names:
                before = module.register_forward_pre_hook(_enter(found, marks, counter), with_kwargs=True)
                after = module.register_forward_hook(_leave(found, marks, counter), always_call=True)
                hooks.callback(before.remove)
                hooks.callback(after.remove)
            net(*example, **named) if call is None else call()
    finally:
        for module in training:
            module.training = True
    names = {"", *found.calls}
    return Counted({n: Cost(found.flops.get(n, 0), found.bytes.get(n, 0), found.calls.get(n, 0)) for n in names})


def _enter(found: _Count, marks: list[float], counter: FlopCounterMode) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = found.names[module]
        found.open.append(name)
        found.calls[name] = found.calls.get(name, 0.0) + 1
        marks.append(counter.get_total_flops())
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, nn.Parameter)]  # a tied head's table
        if not isinstance(module, nn.Embedding):
            own = [*module.parameters(recurse=False), *given]
            found.add(found.bytes, float(sum(p.numel() * p.element_size() for p in own)))

    return hook


def _leave(found: _Count, marks: list[float], counter: FlopCounterMode) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        name = found.names[module]
        if isinstance(module, nn.Embedding) and isinstance(out, Tensor):
            found.add(found.bytes, float(out.numel() * out.element_size()))
        found.open.pop()
        found.flops[name] = found.flops.get(name, 0.0) + counter.get_total_flops() - marks.pop()

    return hook


@dataclass(frozen=True)
class Roofline:
    """What a machine can do at best.

    Attributes:
        flops: operations a second, of a large matrix product in float32.
        bytes: bytes a second from memory, of a large copy.
    """

    flops: float
    bytes: float

    def seconds(self, cost: Cost) -> float:
        """The least time for it."""
        return max(cost.flops / self.flops, cost.bytes / self.bytes)

    def bound(self, cost: Cost) -> str:
        """Whether `compute` or `memory` takes longer."""
        return "compute" if cost.flops / self.flops >= cost.bytes / self.bytes else "memory"


def roofline(size: int = 1024, megabytes: int = 128, rounds: int = 5) -> Roofline:
    """Measures this machine, with the threads that torch uses now; the best of some rounds counts.

    Args:
        size: of the square matrices.
        megabytes: of what is copied; several times the processor's cache.
        rounds: of each.
    """
    a, b = torch.ones(size, size), torch.ones(size, size)
    source = torch.ones(megabytes * 250_000)
    target = torch.empty_like(source)
    product = min(_seconds(lambda: torch.mm(a, b)) for _ in range(rounds + 1))
    copy = min(_seconds(lambda: target.copy_(source)) for _ in range(rounds + 1))
    return Roofline(2 * size**3 / product, 2 * source.numel() * 4 / copy)


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
