"""Whole models: presets, heads, pools and encoders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from twofold.errors import UserError
from twofold.parts import (
    Cls,
    Dense,
    FirstM,
    Last,
    LMHead,
    Mask,
    Max,
    Mean,
    MLMHead,
    SequenceHead,
    TextEncoder,
    TiedHead,
    TokenHead,
    WeightedMean,
    bert,
    decoder,
    encoder,
    llama,
)

IDS = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 0, 0, 0], [7, 8, 8, 1, 2]])
REAL = IDS > 0


def test_states_stop_where_asked():
    torch.manual_seed(0)
    net = encoder(9, 16, 3, 2, head="tied")
    assert torch.equal(net.states(IDS, REAL, stop=0), net.embed(IDS, REAL))
    assert torch.equal(net.apply_head(net.states(IDS, REAL)), net(IDS, REAL))
    assert torch.equal(net.stack(net.states(IDS, REAL, stop=2), REAL, start=2), net.states(IDS, REAL))
    assert (net.dim, net.vocab, net.max_len) == (16, 9, None)
    assert bert(9, 16, 1, 2, 24, max_len=7).max_len == 7


def test_encoder_and_decoder_start_from_the_same_weights():
    nets = []
    for make in (encoder, decoder):
        torch.manual_seed(3)
        nets.append(make(9, 16, 2, 4, head="tied", kv_heads=2))
    for (name, one), (_, two) in zip(nets[0].tensors().items(), nets[1].tensors().items(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.allclose(nets[0](IDS), nets[1](IDS))
    assert torch.allclose(nets[0](IDS, Mask.causal()), nets[1](IDS), atol=1e-6)


@pytest.mark.parametrize("position", ["none", "learned", "sinusoid", "rope", "alibi", "t5"])
def test_presets_take_every_position(position):
    torch.manual_seed(0)
    net = decoder(9, 16, 2, 2, position=position, max_len=5)
    out = net(IDS, REAL)
    assert out.shape == (3, 5, 9)
    assert torch.isfinite(out).all()
    loss = F.cross_entropy(out[REAL], IDS[REAL])
    assert loss < 2.5 * torch.tensor(9.0).log()
    loss.backward()
    with pytest.raises(UserError, match="unknown wiring 'prenorm'"):
        decoder(9, 16, 2, 2, wiring="prenorm")
    with pytest.raises(UserError, match="unknown norm"):
        decoder(9, 16, 2, 2, norm="rmsnorm")
    with pytest.raises(UserError, match="unknown head"):
        decoder(9, 16, 2, 2, head="mml")


def test_order_matters_only_to_those_that_know_positions():
    swapped = IDS[:, [1, 0, 2, 3, 4]]
    for position, knows in (("none", False), ("rope", True), ("alibi", True), ("sinusoid", True)):
        torch.manual_seed(0)
        net = encoder(9, 16, 2, 2, position=position)
        assert torch.allclose(net(IDS)[:, 2:], net(swapped)[:, 2:], atol=1e-5) != knows


def test_embedding():
    torch.manual_seed(0)
    net = bert(9, 16, 1, 2, 24, max_len=5)
    e = net.embedding
    want = e.norm(e.tokens.weight[IDS] + e.position.weight[torch.arange(5)] + e.token_types.weight[0])
    assert torch.allclose(net.embed(IDS), want, atol=1e-6)
    types = torch.tensor([[0, 0, 1, 1, 1]]).expand(3, -1)
    want = e.norm(e.tokens.weight[IDS] + e.position.weight[torch.arange(5)] + e.token_types.weight[types])
    assert torch.allclose(net.embed(IDS, types=types), want, atol=1e-6)
    assert torch.equal(net(IDS, types=torch.zeros_like(IDS)), net(IDS))
    for bad, message in ((9, "token id 9 is outside the vocabulary of 9"), (-1, "token id -1")):
        with pytest.raises(UserError, match=message):
            net(IDS.masked_fill(IDS == 8, bad))
    with pytest.raises(UserError, match="no token types"):
        llama(9, 16, 1, 2, 2, 24)(IDS, types=types)
    with pytest.raises(UserError, match="empty"):
        net(IDS[:, :0])
    with pytest.raises(UserError, match="knows 5 positions and 6 are asked"):
        net(torch.zeros(1, 6, dtype=torch.long))


def test_bfloat16_gives_no_nan():
    real = REAL.clone()
    real[0] = False
    for net in (bert(9, 16, 2, 2, 24, head="mlm"), llama(9, 16, 2, 4, 2, 24), encoder(9, 16, 2, 2, position="t5")):
        out = net.bfloat16()(IDS, real)
        assert out.dtype == torch.bfloat16
        out.float().sum().backward()
        assert torch.isfinite(out).all()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


def test_heads():
    torch.manual_seed(0)
    states, table = torch.randn(2, 3, 8), torch.randn(11, 8)
    tied, mlm = TiedHead(11, bias=True), MLMHead(8, 11)
    assert torch.allclose(tied(states, table), states @ table.T + tied.bias)
    hidden = F.layer_norm(F.gelu(mlm.transform(states)), (8,), mlm.norm.weight, mlm.norm.bias, 1e-12)
    assert torch.allclose(mlm(states, table), hidden @ table.T + mlm.bias, atol=1e-6)
    assert LMHead(8, 11)(states).shape == (2, 3, 11)
    assert TokenHead(8, 4)(states).shape == (2, 3, 4)
    assert SequenceHead(8, 5)(states[:, 0]).shape == (2, 5)
    with pytest.raises(UserError, match="needs the embedding's table"):
        tied(states)


STATES = torch.arange(24.0).reshape(2, 4, 3).cos()
SEEN = torch.tensor([[True, True, True, False], [False, False, True, True]])


@pytest.mark.parametrize(
    ("pool", "want"),
    [
        (Cls(), [STATES[0, 0], STATES[1, 2]]),
        (Last(), [STATES[0, 2], STATES[1, 3]]),
        (Mean(), [STATES[0, :3].mean(0), STATES[1, 2:].mean(0)]),
        (Max(), [STATES[0, :3].amax(0), STATES[1, 2:].amax(0)]),
        (
            WeightedMean(),
            [(STATES[0, 0] + 2 * STATES[0, 1] + 3 * STATES[0, 2]) / 6, (STATES[1, 2] + 2 * STATES[1, 3]) / 3],
        ),
        (FirstM(3), [STATES[0, :3], torch.cat((STATES[1, 2:], torch.zeros(1, 3)))]),
    ],
)
def test_pools(pool, want):
    assert torch.allclose(pool(STATES, SEEN), torch.stack(want))
    noise = torch.where(SEEN[..., None], STATES, torch.tensor(1e4))
    assert torch.allclose(pool(noise, SEEN), torch.stack(want))
    assert torch.equal(pool(STATES, torch.zeros_like(SEEN)), torch.zeros_like(torch.stack(want)))
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.isfinite(pool(STATES.to(dtype), SEEN)).all()


def test_first_m_of_a_shorter_input_adds_zeros():
    kept = FirstM(5)(STATES, SEEN)
    assert kept.shape == (2, 5, STATES.shape[2])
    assert torch.equal(kept[:, :4], FirstM(4)(STATES, SEEN))
    assert torch.equal(kept[:, 4], torch.zeros(2, STATES.shape[2]))


def test_text_encoder():
    torch.manual_seed(0)
    model = bert(9, 16, 3, 2, 24)
    net = TextEncoder(model, Mean(), Dense(16, 6))
    vectors = net(IDS, REAL)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3))
    want = torch.stack([model(IDS[i : i + 1, REAL[i]]).mean(1)[0] for i in range(3)])
    assert torch.allclose(vectors, F.normalize(net.project(want), dim=-1), atol=1e-5)
    for layers in range(4):
        assert torch.equal(net.upper(net.lower(IDS, REAL, layers), REAL, layers), vectors)
    pre = TextEncoder(encoder(9, 16, 2, 2), FirstM(2), normalise=False)
    for layers in range(3):
        assert torch.equal(pre.upper(pre.lower(IDS, None, layers), None, layers), pre(IDS))
    assert pre(IDS).shape == (3, 2, 16)
