"""Linear maps by kind: the factory, structured maps, guides."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from twofold.errors import UserError
from twofold.measure import costs
from twofold.parts import (
    FFN,
    Attention,
    BlockDense,
    BlockDiagonal,
    BlockShuffle,
    Dense,
    LowRankLinear,
    SelfGuided,
    add_guides,
    build,
    cosine_guide,
    decoder,
    drop_guides,
    encoder,
    set_guides,
)
from twofold.parts.linear import Linear, kinds, linear

KINDS = {
    "dense": 16 * 24,
    "lowrank(5)": 5 * (16 + 24),
    "lowrank(0.25)": 4 * (16 + 24),
    "blockdense(6, 2)": 24 * 6 + 6 * 16 // 2,
    "blockshuffle(4)": (16 * 16 + 16 * 24) // 4,
}
BAD = {
    "lowrank(80)": r"rank 80 .* min\(64, 256\) = 64",
    "lowrank(0)": "rank 0",
    "lowrank(1.5)": "at most 1",
    "lowrank(nan)": "rank",
    "lowrank(2, 3)": "2 arguments, and lowrank takes rank",
    "lowrank(a)": "'a' in 'lowrank.a.' is no number",
    "lowrank(4": "cannot read",
    "low-rank(4)": "Did you mean 'lowrank'",
    "dense(3)": "takes no arguments",
    "blockdense(7, 2)": "rank 7 does not divide into 2 blocks",
    "blockdense(8, 3)": "inputs 64 does not divide into 3 blocks",
    "blockshuffle(0.5)": "'blocks' cannot be 0.5",
    "blockshuffle(0)": "blocks is 0",
}


def made(kind: str, inputs: int = 16, outputs: int = 24, seed: int = 0) -> Linear:
    torch.manual_seed(seed)
    part = linear(inputs, outputs, True, kind)
    assert isinstance(part, Linear)
    nn.init.normal_(part.bias)
    return part


@pytest.mark.parametrize("kind", KINDS)
def test_merge_gives_the_same_outputs_at_the_counted_cost(kind: str) -> None:
    part, x = made(kind), torch.randn(3, 5, 16)
    merged = part.merge()
    assert type(merged) is Dense
    torch.testing.assert_close(merged(x), part(x), rtol=1e-6, atol=1e-6)
    assert costs.parameters(part) == KINDS[kind] + 24
    assert part.flops(15) == costs.flops(part, x) == 2 * 15 * KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_data(kind: str) -> None:
    part, x = made(kind), torch.randn(2, 16)
    with torch.device("meta"):
        again = build(json.loads(json.dumps(part.spec())))
    again.assign({name: tensor.detach() for name, tensor in part.tensors().items()})
    assert torch.equal(again(x), part(x))
    net = decoder(11, 16, 1, 2, hidden=24, linear={"ffn": kind})
    assert build(json.loads(json.dumps(net.spec()))).spec() == net.spec()


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_work_is_refused_with_the_numbers(kind: str) -> None:
    with pytest.raises(UserError, match=BAD[kind]):
        linear(64, 256, True, kind)


def test_where_a_kind_stands() -> None:
    assert kinds("lowrank(0.5)") == {"attn": "lowrank(0.5)", "ffn": "lowrank(0.5)"}
    assert kinds({"ffn": "lowrank(0.5)"}) == {"attn": "dense", "ffn": "lowrank(0.5)"}
    with pytest.raises(UserError, match=r"unknown place of linear maps 'fnn'. Did you mean 'ffn'"):
        kinds({"fnn": "dense"})
    with pytest.raises(UserError, match="give a kind"):
        kinds({"ffn": 3})
    with pytest.raises(UserError, match=r"rank 80 .* min\(16, 48\) = 16"):
        decoder(11, 16, 1, 2, linear={"ffn": "lowrank(80)"})
    block = decoder(11, 16, 1, 2, linear={"ffn": "lowrank(0.5)"}).stack.layers[0]
    assert isinstance(block.channel.up, LowRankLinear)
    assert isinstance(block.mixer.query, Dense)
    block = decoder(11, 16, 1, 2, linear="lowrank(0.5)").stack.layers[0]
    assert isinstance(block.channel.up, LowRankLinear)
    assert isinstance(block.mixer.query, LowRankLinear)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 24), (24, 16), (16, 16)])
def test_full_rank_starts_as_the_dense_map(inputs: int, outputs: int) -> None:
    torch.manual_seed(3)
    dense = Dense(inputs, outputs)
    torch.manual_seed(3)
    part = LowRankLinear(inputs, outputs, rank=min(inputs, outputs))
    torch.testing.assert_close(part.matrix(), dense.weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(part.bias, dense.bias)


def test_lower_rank_starts_as_the_nearest() -> None:
    torch.manual_seed(3)
    dense = Dense(16, 24)
    torch.manual_seed(3)
    part = LowRankLinear(16, 24, rank=5)
    values = torch.linalg.svdvals(dense.weight)
    distance = torch.linalg.matrix_norm(dense.weight - part.matrix())
    torch.testing.assert_close(distance, values[5:].square().sum().sqrt(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(part.U.T @ part.U, part.V @ part.V.T, rtol=1e-4, atol=1e-5)  # both carry √S


def test_gradients_follow_the_chain_rule() -> None:
    part, x = made("lowrank(5)").double(), torch.randn(7, 16, dtype=torch.float64)
    weight = part.matrix().detach().requires_grad_()
    (torch.nn.functional.linear(x, weight, part.bias.detach()) ** 3).sum().backward()
    (part(x) ** 3).sum().backward()
    assert isinstance(part, LowRankLinear)
    torch.testing.assert_close(part.U.grad, weight.grad @ part.V.T)
    torch.testing.assert_close(part.V.grad, part.U.T @ weight.grad)


def test_block_diagonal_keeps_blocks_apart() -> None:
    part = BlockDiagonal(6, 9, False, 3)
    assert torch.equal(part.matrix(), torch.block_diag(*part.weight))
    assert torch.allclose(part.weight[0].T @ part.weight[0], torch.eye(2), atol=1e-6)


def test_every_input_reaches_every_output_of_a_shuffle() -> None:
    part = BlockShuffle(16, 32, False, 4)
    assert (part.matrix().abs() > 0).all()
    dense = BlockDense(16, 32, False, rank=8, blocks=4)
    torch.testing.assert_close(dense.matrix(), dense.U @ torch.block_diag(*dense.V.weight))


def test_a_guide_has_its_share_and_no_more() -> None:
    part, x = made("lowrank(5)"), torch.randn(4, 16)
    before = part(x)
    guided = SelfGuided(part)
    torch.testing.assert_close(guided(x), before, rtol=1e-5, atol=1e-6)  # it starts as the product
    nn.init.normal_(guided.guide.weight)
    own, led = part(x), torch.nn.functional.linear(x, guided.guide.weight, part.bias)
    assert not torch.allclose(own, led)
    for alpha in (1.0, 0.25, 0.0):
        guided.alpha.fill_(alpha)
        torch.testing.assert_close(guided(x), alpha * led + (1 - alpha) * own, rtol=1e-5, atol=1e-5)
    assert torch.equal(guided(x), own)
    guided(x).sum().backward()
    assert guided.guide.weight.grad is None
    assert guided.flops(4) == part.flops(4)
    assert guided.idle_parameters == 16 * 24
    guided.alpha.fill_(1.0)
    assert guided.flops(4) == part.flops(4) + 2 * 4 * 16 * 24
    assert guided.idle_parameters == 0


def test_guides_come_and_go() -> None:
    ids = torch.arange(8)[None]
    net = decoder(11, 16, 2, 2, hidden=24, linear={"ffn": "blockshuffle(4)"})
    spec = net.spec()
    add_guides(net)
    add_guides(net)  # no guide of a guide
    guides = [m for m in net.modules() if isinstance(m, SelfGuided)]
    assert len(guides) == 6
    for part in guides:
        nn.init.normal_(part.guide.weight)
    drop_guides(net)
    assert sum(isinstance(m, SelfGuided) for m in net.modules()) == 6  # they still have their share
    with torch.device("meta"):
        again = build(json.loads(json.dumps(net.spec())))
    again.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(again(ids), net(ids))
    set_guides(net, 0.0)
    led = net(ids)
    drop_guides(net)
    assert net.spec() == spec
    assert torch.equal(net(ids), led)


def test_the_guides_share_falls_along_a_cosine() -> None:
    assert cosine_guide(0.0) == 1.0
    assert cosine_guide(0.25) == pytest.approx(0.5)
    assert cosine_guide(0.499) > 0
    assert cosine_guide(0.5) == cosine_guide(0.9) == 0.0
    assert cosine_guide(0.5, until=1.0) == pytest.approx(0.5)


def test_parts_count_their_maps() -> None:
    assert FFN(16, 40, linear="lowrank(4)").flops(10) == 2 * 10 * 2 * 4 * (16 + 40)
    assert FFN(16, 40, gate=True).flops(10) == 2 * 10 * 3 * 16 * 40
    attention = Attention(16, 4, kv_heads=2, head_dim=2)
    assert attention.flops(10) == 2 * 10 * (2 * 16 * 8 + 2 * 16 * 4) + 4 * 10 * 10 * 8


def test_cost_is_exact() -> None:
    net = encoder(50, 16, 3, 2, head="tied", hidden=40, gate=False, linear={"ffn": "lowrank(0.25)"})
    found = costs.cost(net, 12)
    maps = 4 * 16 * 16 + 2 * 4 * (16 + 40)
    assert found.flops * 12 == costs.flops(net, torch.zeros(1, 12, dtype=torch.long))
    assert found.flops == 3 * (2 * maps + 4 * 12 * 16) + 2 * 16 * 50
    assert found.parameters == found.active == 3 * (maps + 2 * 16) + 16 + 50 * 16
    assert found.bytes == 4 * found.parameters
    add_guides(net)
    guide = 3 * 2 * 16 * 40
    led = costs.cost(net, 12)
    assert led.flops == found.flops + 2 * guide
    assert led.active == found.active + guide
    set_guides(net, 0.0)
    assert costs.cost(net, 12).flops == found.flops
    assert costs.cost(net, 12).active == found.active
    with pytest.raises(UserError, match="head is a Dense"):
        costs.cost(type(net)(net.embedding, net.stack, Dense(16, 3)), 12)
