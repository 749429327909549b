"""Sparse all-MLP [172]: gates over positions, fixed experts for chunks of features, balanced experts for tokens."""

from __future__ import annotations

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.measure.costs import cost
from twofold.parts import Mask, MoE, SpatialGate
from twofold.tasks import load, task
from twofold.tasks.examples import small_rows


@pytest.fixture(scope="module")
def data():
    return task("language").read(small_rows())


def shaken(gate: SpatialGate) -> SpatialGate:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return gate


X = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(1))


def test_the_gate_by_hand() -> None:
    gate = shaken(SpatialGate(8, 12, 10, 3))
    u, v = torch.nn.functional.gelu(gate.up(X)).chunk(2, -1)
    v = gate.norm(v)
    made = torch.empty_like(v)
    for chunk in range(3):
        own = slice(4 * chunk, 4 * chunk + 4)
        for t in range(7):
            total = sum(gate.spatial[chunk, t, s] * v[:, s, own] for s in range(t + 1))
            made[:, t, own] = total + gate.bias[chunk, t]
    torch.testing.assert_close(gate(X), gate.down(u * made), rtol=1e-4, atol=1e-5)


def test_nothing_is_gated_at_first() -> None:
    torch.manual_seed(0)
    gate = SpatialGate(8, 12, 64)
    u, _ = torch.nn.functional.gelu(gate.up(X)).chunk(2, -1)
    torch.testing.assert_close(gate(X), gate.down(u), rtol=0, atol=0.01)
    assert torch.equal(gate.bias, torch.ones(1, 64))


def test_equal_chunks_are_one_gate() -> None:
    one, many = shaken(SpatialGate(8, 12, 10)), SpatialGate(8, 12, 10, 3)
    state = one.state_dict()
    many.load_state_dict({n: t.expand(3, *t.shape[1:]) if n in ("spatial", "bias") else t for n, t in state.items()})
    torch.testing.assert_close(many(X), one(X), rtol=1e-5, atol=1e-6)


def test_matrices_learn_below_the_diagonal_alone() -> None:
    gate = shaken(SpatialGate(8, 12, 10, 3))
    gate(X).square().sum().backward()
    gradient = gate.spatial.grad
    assert torch.equal(gradient.triu(1), torch.zeros_like(gradient))
    assert (gradient[:, :7, :7].tril().abs().sum((1, 2)) > 0).all()
    assert torch.equal(gradient[:, 7:], torch.zeros_like(gradient[:, 7:]))


def test_padding_on_the_left_leaves_positions_as_they_are() -> None:
    gate = shaken(SpatialGate(8, 12, 10, 3))
    padded = torch.cat((torch.randn(2, 2, 8), X), 1)
    real = (torch.arange(9) >= 2).expand(2, -1)
    torch.testing.assert_close(gate(padded, Mask.padding(real))[:, 2:], gate(X), rtol=1e-5, atol=1e-6)


def test_every_second_layer_is_sparse() -> None:
    layers = configure("smlp", dim=32, length=16).small().network(20).stack.layers
    assert [layer.mixer.chunks for layer in layers[:2]] == [1, 4]
    assert layers[0].channel is None
    assert isinstance(layers[1].channel, MoE)
    assert type(layers[1].channel.router).__name__ == "Balanced"


def test_the_claims_arms_cost_the_same_but_for_the_routers() -> None:
    dense, sparse = (configure(arm) for arm in configure("smlp").claim.arms)
    with torch.device("meta"):
        a, b = (cost(system.network(1024), 64) for system in (dense, sparse))
    assert b.flops - a.flops == 2 * 2 * 96 * 4
    assert b.parameters > 1.5 * a.parameters
    assert (dense.batch, dense.length) == (sparse.batch, sparse.length)


def test_nothing_looks_ahead(data) -> None:
    # In double precision and to rounding: how many tokens an expert has decides which routine multiplies them, and so
    # the last bits of each.
    net = configure("smlp").small().start(data, 0).net.eval().double()
    shift = torch.randint(0, 200, (2, 12))
    changed = shift.clone()
    changed[:, 8:] = (changed[:, 8:] + 1) % 200
    torch.testing.assert_close(net(shift)[:, :8], net(changed)[:, :8], rtol=0, atol=1e-12)
    assert not torch.allclose(net(shift)[:, 8:], net(changed)[:, 8:])


def test_experts_share_a_batch_alike_while_training(data) -> None:
    model = configure("smlp").small().start(data, 0)
    seen = []
    for part in model.net.modules():
        if isinstance(part, MoE):
            part.router.register_forward_hook(lambda module, given, out: seen.append(out.index[:, 0].bincount()))
    model.net.train()(torch.randint(0, 200, (3, 11)), Mask.causal())
    assert seen
    assert all(max(load) - min(load) <= 1 and len(load) == 4 for load in (s.tolist() for s in seen))


def test_it_writes_text_and_is_saved(data, tmp_path) -> None:
    model = configure("smlp").small().fit(data, Steps(3)).model
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.generate(["The lamp", "People"], 8) == model.generate(["The lamp", "People"], 8)
    ids = torch.randint(0, 200, (2, 12))
    cache = again.net.new_cache(2, 12)
    steps = torch.cat([again.net(ids[:, t : t + 1], cache=cache) for t in range(12)], 1)
    torch.testing.assert_close(steps, model.net(ids), rtol=1e-4, atol=1e-5)


def test_refusals(data) -> None:
    with pytest.raises(UserError, match="matrices for 4 positions"):
        SpatialGate(8, 12, 4)(X)
    with pytest.raises(UserError, match="hidden 14 does not divide into 4 chunks of even width; use 8"):
        SpatialGate(8, 14, 4, 4)
    with pytest.raises(UserError, match="experts"):
        configure("smlp", experts=0)
