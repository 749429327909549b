"""MambaByte: its block against a plain loop, its constant state, and bytes in and out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.measure.costs import cost
from twofold.parts import S6, Mask
from twofold.tasks import task
from twofold.tasks.examples import small_rows


def naive(block: S6, x: torch.Tensor) -> torch.Tensor:
    """Mamba's block as the paper writes it, one token after another."""
    u, z = (x @ block.enter_map.weight.T).chunk(2, -1)
    taps, width = block.conv.weight, block.conv.kernel
    a = -torch.exp(block.log_a).reshape(block.state, block.inner).T  # [inner, state]
    h = torch.zeros(len(x), block.inner, block.state, dtype=x.dtype)
    out = []
    for t in range(x.shape[1]):
        seen = sum(u[:, t - back] * taps[back] for back in range(width) if t >= back)
        v = F.silu(seen + block.conv.bias)
        low, b, c = (v @ block.select.weight.T).split((block.rank, block.state, block.state), -1)
        dt = F.softplus(low @ block.step.weight.T + block.dt_bias)
        h = torch.exp(dt[..., None] * a) * h + (dt * v)[..., None] * b[:, None]
        y = (h * c[:, None]).sum(-1) + block.skip * v
        out.append((y * F.silu(z[:, t])) @ block.out.weight.T)
    return torch.stack(out, 1)


def test_the_block_is_the_papers() -> None:
    torch.manual_seed(0)
    block = S6(8, state=5).double()
    x = torch.randn(2, 50, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), naive(block, x), rtol=1e-10, atol=1e-10)


def test_it_starts_as_the_paper_says() -> None:
    block = S6(64, state=16)
    steps = F.softplus(block.dt_bias.detach())
    assert float(steps.min()) >= 1e-3
    assert float(steps.max()) <= 0.1 + 1e-6
    assert block.rank == 4
    torch.testing.assert_close(block.a[:, 0], -torch.arange(1.0, 17))
    torch.testing.assert_close(block.a[:, 0], block.a[:, -1])


def test_both_arms_of_the_claim_cost_as_much() -> None:
    claim: Any = configure("mambabyte").claim
    costs = []
    for arm in claim.arms:
        made: Any = configure(arm.id, **arm.options)
        costs.append(cost(made.network(259), made.length).flops)
    assert costs[1] == pytest.approx(costs[0], rel=0.06)
    assert costs[1] <= costs[0]


@pytest.fixture(scope="module")
def model() -> Any:
    return configure("mambabyte").small().fit(task("language").read(small_rows()), Steps(3)).model  # type: ignore[attr-defined]


def test_memory_does_not_grow(model: Any) -> None:
    sizes = []
    for time in (1, 60):
        cache = model.net.new_cache(2, 64)
        with torch.inference_mode():
            model.net(torch.randint(0, 256, (2, time)), Mask.causal(), cache)
        sizes.append(cache.nbytes)
    assert sizes[0] == sizes[1]
    assert cache.growth == "const"


def test_it_reads_and_writes_any_bytes(model: Any) -> None:
    assert model.score(["\x00\x7f é \U0001f600 \n"]).bits_per_byte > 0
    assert model.generate(["def ", "ab"], 5) == [model.generate("def ", 5), model.generate("ab", 5)]


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="state"):
        configure("mambabyte", state=0)
    made: Any = configure("mambabyte").small()
    with pytest.raises(UserError, match="empty"):
        replace(made).network(259)(torch.zeros(1, 0, dtype=torch.long))
