"""Auxiliary losses: parts add them where they arise, whoever trains collects them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_collected: ContextVar[dict[str, Tensor] | None] = ContextVar("collected auxiliary losses", default=None)


@contextmanager
def collect_aux() -> Iterator[dict[str, Tensor]]:
    """Collects what parts add during the block, by name; an inner block keeps what it collects to itself.

    with collect_aux() as aux:
        out = net(ids)
    loss = main(out) + sum(aux.values())
    """
    aux: dict[str, Tensor] = {}
    token = _collected.set(aux)
    try:
        yield aux
    finally:
        _collected.reset(token)


def add_aux(name: str, value: Tensor) -> None:
    """Adds a scalar under a name; repeated calls (looped or shared layers) sum. Free when nobody collects."""
    aux = _collected.get()
    # A checkpointed layer runs a second time inside the backward pass; that pass must not count again.
    if aux is None or torch._C._current_graph_task_id() != -1:
        return
    aux[name] = aux[name] + value if name in aux else value
