"""Combiner [257]: the implied full attention, regions, limits, reach."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import configure
from twofold.errors import UserError
from twofold.measure.costs import context_costs
from twofold.parts import Alibi, Attention, Combiner, FixedAttention, Mask


def mixer(width=4, causal: bool | None = True, dim=16, heads=2) -> Combiner:
    torch.manual_seed(0)
    return Combiner(dim, heads, width, causal=causal)


def inputs(time, seed=1):
    return torch.randn(2, time, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("time", [1, 4, 11, 16])
@pytest.mark.parametrize("causal", [True, False])
def test_every_allowed_pair_counts_and_rows_sum_to_one(time, causal) -> None:
    found = mixer(causal=causal).matrix(inputs(time))
    allowed = torch.ones(time, time, dtype=torch.bool)
    allowed = allowed.tril() if causal else allowed
    assert (found[..., allowed] > 0).all()
    assert (found[..., ~allowed] == 0).all()
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 2, time), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [1, 3, 8])
@pytest.mark.parametrize("causal", [True, False])
def test_regions_are_disjoint_and_complete(width, causal) -> None:
    one = mixer(width, causal)
    for time in (1, 7, 8, 30, 64):
        mask = one.rule(Mask.bidirectional())
        places = mask.places(1, time, torch.device("cpu"))
        regions = one.regions(1, mask, places, places)
        through = regions.seen()[0, 0].gather(1, regions.of[0][None].expand(time, -1))
        times = regions.near()[0, 0].long() + through.long()
        wanted = torch.ones(time, time, dtype=torch.long)
        assert torch.equal(times, wanted.tril() if causal else wanted)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("time", [1, 8, 11])
def test_block_by_block_is_the_matrix(time, causal) -> None:
    one, x = mixer(causal=causal), inputs(time)
    torch.testing.assert_close(one(x), one.merge(one.matrix(x) @ one.values(x)), rtol=1e-5, atol=1e-6)


def test_one_block_is_dense_attention() -> None:
    one, x = mixer(width=16), inputs(11)
    plain = Attention(16, 2, causal=True)
    plain.load_state_dict(one.state_dict(), strict=False)
    torch.testing.assert_close(one(x), plain(x), rtol=1e-5, atol=1e-6)


def test_regions_of_one_token_are_that_token() -> None:
    one, x = mixer(width=1), inputs(9)
    one.region_key, one.key_norm = torch.nn.Identity(), torch.nn.Identity()  # the pooled key is the token's own
    plain = Attention(16, 2, causal=True)
    plain.load_state_dict(one.state_dict(), strict=False)
    torch.testing.assert_close(one(x), plain(x), rtol=1e-5, atol=1e-6)


def test_weights_inside_a_region_are_computed_by_hand() -> None:
    one, x = mixer(width=3), inputs(7)[:1]
    q, k = (one.split(f(x), 2) for f in (one.query, one.key))
    pooled_q = one.query_norm(one.region_query(q[:, :, :3])).amax(2)
    pooled_k = one.key_norm(one.region_key(k[:, :, :3])).amax(2)
    inside = (pooled_q[:, :, None] * k[:, :, :3]).sum(-1).mul(one.scale).softmax(-1)
    logits = torch.cat((pooled_k[:, :, None], k[:, :, 3:5]), 2) @ q[:, :, 4, :, None] * one.scale
    p = logits[..., 0].softmax(-1)
    row = torch.cat((p[..., :1] * inside, p[..., 1:]), -1)
    torch.testing.assert_close(one.matrix(x)[:, :, 4, :5], row, rtol=1e-5, atol=1e-6)


def test_one_layer_reaches_everything_and_the_pattern_it_starts_from_does_not() -> None:
    torch.manual_seed(0)
    for one, everything in ((mixer(), True), (FixedAttention(16, 2, 4, 1, causal=True), False)):
        x = inputs(15).requires_grad_()
        one(x)[0, 14].square().sum().backward()
        assert bool((x.grad[0].abs().sum(-1) > 0).all()) is everything


def test_costs_less_than_dense() -> None:
    def at(name, **options):
        return context_costs(configure(name, dim=64, layers=2, length=512, **options).network(50), 512)

    dense, combined = Attention(64, 4, causal=True), Combiner(64, 4, 23, causal=True)
    maps = 8 * 64 * 64 * 512
    assert combined.flops(512) - maps < 0.4 * (dense.flops(512) - maps)
    assert at("combiner")["flops_per_token"] < at("backbone")["flops_per_token"]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="causal or a two-way"):
        mixer()(inputs(5), Mask.window(2))
    with pytest.raises(UserError, match="use rope, log-scale or none"):
        Combiner(16, 2, position=Alibi(2))
    with pytest.raises(UserError, match="use head_dim=6"):
        Combiner(15, 3, head_dim=5)
    with pytest.raises(UserError, match="use dim=18"):
        Combiner(15, 3)
