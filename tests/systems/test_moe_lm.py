"""Mixtures of experts in language models: moe-lm [151], mh-moe [243], deepspeed-moe [249]."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure
from twofold.cli import main
from twofold.errors import UserError
from twofold.measure.costs import cost, parameters
from twofold.measure.experts import expert_report
from twofold.parts import FFN, MoE, MultiHead, SharedExpert, Switch, TopK, build, collect_aux
from twofold.surgery import upcycle
from twofold.systems.capacity.mh_moe import moe_parity
from twofold.tasks import load, task
from twofold.tasks.examples import small_model, small_rows

IDS = ("moe-lm", "mh-moe", "deepspeed-moe")


@pytest.fixture(scope="module")
def data():
    return task("language").read(small_rows())


def claimed(id: str):
    return [configure(arm) for arm in configure(id).claim.arms]


def at(system, vocab=260):
    with torch.device("meta"):
        return cost(system.network(vocab), system.length)


def test_every_second_layer_has_experts() -> None:
    system = configure("moe-lm", dim=32)
    channels = [layer.channel for layer in system.network(20).stack.layers]
    assert [type(c) for c in channels] == [FFN, MoE, FFN, MoE]
    assert isinstance(channels[1].router, TopK)
    assert channels[1].experts.up.gradient == 8**-0.5
    assert channels[1].capacity == 2.0


def test_the_claims_arms_differ_by_their_routers_alone() -> None:
    dense, sparse = claimed("moe-lm")
    router = 2 * 2 * dense.dim * 8
    assert at(sparse).flops - at(dense).flops == router
    assert at(sparse).active - at(dense).active == router // 2
    assert at(sparse).parameters > 2 * at(dense).parameters
    assert (dense.length, dense.batch, dense.lr) == (sparse.length, sparse.batch, sparse.lr)


def test_one_expert_is_the_dense_decoder() -> None:
    torch.manual_seed(0)
    system = configure("moe-lm", dim=16, layers=2, heads=2, experts=1, k=1)
    net = system.network(20).eval()
    dense = configure("decoder", dim=16, layers=2, heads=2, channel="gelu", position="sinusoid").network(20)
    state = {n.replace(".experts", ""): t for n, t in net.state_dict().items() if ".router" not in n}
    dense.load_state_dict({n: t[0] if t.ndim == 3 else t for n, t in state.items()})
    ids = torch.arange(15)[None]
    torch.testing.assert_close(net(ids), dense(ids))


@pytest.mark.parametrize("id", IDS)
def test_auxiliary_losses_reach_the_router(id: str, data) -> None:
    system = configure(id).small()
    model = system.start(data, 0)
    batch = system.batches(model, data, 0)(0, 0.0)
    with collect_aux() as aux:
        system.loss(model.net.train(), batch)
    assert set(aux) == {"balance"}
    mixtures = [m for m in model.net.modules() if isinstance(m, MoE)]
    assert float(aux["balance"].detach()) >= 0.01 * len(mixtures) * 0.99
    aux["balance"].backward()
    assert all(m.router.gate.weight.grad.abs().sum() > 0 for m in mixtures)


@pytest.mark.parametrize("id", IDS)
def test_texts_are_generated_step_by_step_as_read_at_once(id: str, data, tmp_path) -> None:
    model = configure(id).small().fit(data, Steps(2)).model
    ids = torch.randint(0, 200, (2, 12))
    whole = model.net(ids)
    cache = model.net.new_cache(2, 12)
    steps = [model.net(ids[:, t : t + 1], cache=cache) for t in range(12)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)
    assert model.costs()["active_parameters"] < model.costs()["parameters"]
    model.save(tmp_path / "model")
    # Not to the bit: weights read from a file lie elsewhere in memory, which may change the order of a kernel's sums.
    torch.testing.assert_close(load(tmp_path / "model").net(ids), whole, rtol=1e-5, atol=1e-5)
    uses = expert_report(model.net, lambda: model.net(ids), ids)
    assert all(use.load.sum() == pytest.approx(1) for use in uses)


def test_a_dense_model_becomes_experts_that_answer_as_it_did(data) -> None:
    dense = configure("decoder").small().fit(data, Steps(3)).model
    made = api.apply("moe-lm", dense, small_rows(), every=1, experts=3, capacity=None)
    ids = torch.randint(0, 200, (2, 12))
    torch.testing.assert_close(made.net(ids), dense.net(ids), rtol=1e-4, atol=1e-5)
    assert made.history[-1]["report"] == {"layers": 2}
    assert made.parameters > 2 * dense.parameters
    assert build(json.loads(json.dumps(made.net.spec()))).spec() == made.net.spec()
    with pytest.raises(UserError, match="makes experts of language models"):
        api.apply("moe-lm", small_model(), small_rows())
    with pytest.raises(UserError, match="layer 0 has no plain feed-forward part"):
        api.apply("moe-lm", made, small_rows(), every=1)
    for id in IDS:  # whatever their own networks have, here experts get whole tokens
        with pytest.raises(UserError, match=r"9 experts are more than the 8 tokens.*use experts=8 or less"):
            api.apply(id, dense, small_rows(), every=1, experts=9, batch=1, length=8)
    with pytest.raises(UserError, match="every=3 is more than there are layers"):
        upcycle(dense.copy().net, lambda dim: Switch(dim, 2), every=3)


@pytest.mark.parametrize("id", IDS)
def test_the_study_tells_how_experts_are_used(id: str, data) -> None:
    model = configure(id).small().fit(data, Steps(2)).model
    report = api.study(id, model, small_rows(), texts=3)
    mixtures = sum(isinstance(part, MoE) for part in model.net.modules())
    assert len(report.tables[0].rows) == mixtures
    for row in report.tables[0].rows:
        assert 0 <= row[3] <= 1 / row[1] <= row[2] <= 1
        assert 0 <= row[4] <= 1 + 1e-9
        assert 0 <= row[6] <= 1
    assert sum(v for v in report.plots[0].values[0] if v is not None) == pytest.approx(1)
    with pytest.raises(UserError, match="no mixture of experts"):
        api.study(id, configure("decoder").small().fit(data, Steps(1)).model, small_rows())
    with pytest.raises(UserError, match="reports on language models"):
        api.study(id, small_model(), small_rows())


def test_refusals() -> None:
    with pytest.raises(UserError, match="8 experts, top-9"):
        configure("moe-lm", k=9).network(20)
    with pytest.raises(UserError, match="router=switch sends a token to one expert; use k=1, not 2"):
        configure("moe-lm", router="switch").network(20)
    with pytest.raises(UserError, match="capacity"):
        configure("moe-lm", capacity=0)


def test_parity_by_the_formulas() -> None:
    sizes = moe_parity(64, 2, 1, 8, 192)
    assert (sizes.hidden, sizes.experts) == (149, 20)
    assert abs(sizes.flops) < 0.02
    assert abs(sizes.parameters) < 0.02
    exact = moe_parity(96, 3, 2, 8, 224)  # no rounding: m' = 192, E' = 3 · 1728 / 192 = 27
    assert (exact.hidden, exact.experts) == (192, 27)
    assert exact.flops == exact.parameters == pytest.approx(0)
    plain = moe_parity(64, 2, 1, 8, 192, maps=0)
    assert (plain.hidden, plain.experts) == (192, 16)
    with pytest.raises(UserError, match="dim=64 does not divide into 3 heads"):
        moe_parity(64, 3, 1, 8, 192)
    with pytest.raises(UserError, match="smallest width that works is 43"):
        moe_parity(64, 2, 1, 8, 42)
    assert moe_parity(64, 2, 1, 8, 44).hidden >= 1


def test_parity_is_what_networks_cost() -> None:
    fine, heads = claimed("mh-moe")
    a, b = at(fine, 1024), at(heads, 1024)
    routers = [2 * 2 * 64 * 16, 2 * 2 * 64 * heads.sizes.experts]
    assert abs((b.flops - routers[1]) / (a.flops - routers[0]) - 1) < 0.02
    assert abs(b.parameters / a.parameters - 1) < 0.02
    assert fine.batch == heads.batch


def test_heads_and_a_shared_network_stand_where_they_should() -> None:
    layer = configure("mh-moe", dim=32, shared=1.0).network(20).stack.layers[1]
    assert isinstance(layer.channel, SharedExpert)
    assert isinstance(layer.channel.moe, MultiHead)
    assert layer.channel.moe.inner.dim == 16
    assert layer.channel.dense.hidden == 32
    without = configure("mh-moe", dim=32, head_map=False).network(20).stack.layers[1].channel
    assert without.to_heads is None
    assert without.from_heads is not None
    bits = configure("mh-moe", dim=32, expert_linear="bit158").network(20).stack.layers[1].channel
    assert type(bits.inner.experts.up).__name__ == "StackedBitLinear"


def test_a_pyramid_has_fewer_units_for_the_same_operations() -> None:
    plain, pyramid = claimed("deepspeed-moe")
    assert at(pyramid).flops == at(plain).flops - 2 * 64 * (4 * 8 - 20)  # routers of 20 experts in place of 32
    experts = sum(parameters(layer.channel) for layer in plain.network(20).stack.layers) - 4 * 8 * 64
    fewer = sum(parameters(layer.channel) for layer in pyramid.network(20).stack.layers) - 20 * 64
    assert fewer / experts == 12 / 32
    assert at(pyramid).parameters / at(plain).parameters < 0.45
    channels = [layer.channel for layer in pyramid.network(20).stack.layers]
    assert [c.moe.experts.count for c in channels] == [4, 4, 4, 8]
    assert all(isinstance(c, SharedExpert) for c in channels)


def test_a_level_pyramid_without_a_shared_part_is_the_plain_mixture() -> None:
    level = configure("deepspeed-moe", dim=16, heads=2, pyramid=(8,), residual=False, expert_hidden=4.0)
    plain = configure("moe-lm", dim=16, heads=2, k=1, every=1, router="switch")
    torch.manual_seed(0)
    a = level.network(20)
    torch.manual_seed(0)
    b = plain.network(20)
    assert a.spec() == b.spec()
    assert all(torch.equal(t, b.state_dict()[n]) for n, t in a.state_dict().items())


def test_residual_experts_of_zeros_leave_the_dense_model(data) -> None:
    net = configure("deepspeed-moe").small().start(data, 0).net.eval()
    ids = torch.arange(15)[None]
    for part in net.modules():
        if isinstance(part, SharedExpert):
            torch.nn.init.zeros_(part.moe.experts.down.weight)
    before = net(ids)
    for layer in net.stack.layers:
        layer.channel = layer.channel.dense
    torch.testing.assert_close(net(ids), before)
    with pytest.raises(UserError, match="pyramid names experts for 4 layers, and 2 have some"):
        replace(configure("deepspeed-moe"), layers=2).network(20)


@pytest.mark.parametrize("id", IDS)
def test_from_the_command_line(id: str, tmp_path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(small_rows().columns["text"]))
    options = configure(id).small().options()
    sets = [f"--set={name}={json.dumps(value)}" for name, value in options.items() if value is not None]
    out = str(tmp_path / "model")
    assert main(["fit", id, str(file), "-o", out, "--steps", "2", "--quiet", *sets]) == 0
    assert isinstance(load(out).generate("The lamp", 8), str)
