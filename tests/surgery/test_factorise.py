"""Trained matrices as products of low rank, and back."""

from __future__ import annotations

import pytest
import torch

from tests.surgery.networks import NETS, made
from twofold.errors import UserError
from twofold.parts import Dense, LowRankLinear
from twofold.surgery import block_flops, factorise, merged

IDS = torch.arange(9)[None]


@pytest.mark.parametrize("name", NETS)
def test_full_rank_changes_no_output(name: str) -> None:
    net = made(name)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    same = factorise(net, 1.0, ("ffn", "attn"))
    torch.testing.assert_close(same(IDS), net(IDS), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert sum(isinstance(m, LowRankLinear) for m in same.modules()) >= 12


def test_only_what_was_asked_for_is_factorised() -> None:
    net = made("llama")
    small = factorise(net, 0.25)
    block = small.stack.layers[0]
    assert isinstance(block.mixer.query, Dense)
    assert block.channel.up.rank == 9
    left, values, right = torch.linalg.svd(net.stack.layers[0].channel.up.weight)
    nearest = left[:, :9] * values[:9] @ right[:9]
    torch.testing.assert_close(block.channel.up.matrix(), nearest, rtol=1e-4, atol=1e-5)
    assert block_flops(small, 12) < block_flops(net, 12)
    assert not torch.allclose(small(IDS), net(IDS))


def test_merged_is_plain_again() -> None:
    small = factorise(made("bert"), 0.25)
    plain = merged(small)
    assert plain.spec() == made("bert").spec()
    torch.testing.assert_close(plain(IDS), small(IDS), rtol=1e-5, atol=1e-5)


def test_refusals() -> None:
    with pytest.raises(UserError, match=r"layers.0.channel.up: lowrank: rank 33 .* min\(32, 48\) = 32"):
        factorise(made("bert"), 33)
    with pytest.raises(UserError, match="unknown place"):
        factorise(made("bert"), 4, ("head",))
