"""Products of groups of rows: the kernel and the filled product both give what a loop over groups gives."""

from __future__ import annotations

import pytest
import torch

from twofold.measure import costs
from twofold.parts.grouped import grouped


@pytest.mark.parametrize("widths", [(8, 12), (5, 3), (8, 6)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("sizes", [[3, 0, 4, 1], [0, 0, 0, 8], [0, 0, 0, 0]], ids=str)
def test_as_a_loop_over_groups(widths, dtype, sizes) -> None:
    torch.manual_seed(0)
    rows = torch.randn(sum(sizes), widths[0], dtype=dtype, requires_grad=True)
    weight = torch.randn(4, widths[1], widths[0], dtype=dtype, requires_grad=True)
    expected = torch.cat([part @ weight[group].T for group, part in enumerate(rows.split(sizes))])
    found = grouped(rows, weight, torch.tensor(sizes))
    torch.testing.assert_close(found, expected)
    for how in (lambda y: y.sum(), lambda y: y.square().sum()):  # an expanded gradient, and a plain one
        own = torch.autograd.grad(how(found), (rows, weight), retain_graph=True)
        for mine, theirs in zip(
            own, torch.autograd.grad(how(expected), (rows, weight), retain_graph=True), strict=True
        ):
            torch.testing.assert_close(mine, theirs)


def test_its_operations_are_counted() -> None:
    rows, weight, sizes = torch.randn(8, 8), torch.randn(2, 12, 8), torch.tensor([5, 3])
    assert costs.flops(grouped, rows, weight, sizes) == 2 * 8 * 8 * 12
