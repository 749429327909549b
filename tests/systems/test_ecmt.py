"""One network for several predictions [215]: any width at run time, cut to a budget, the same features at each."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.measure.costs import flops, parameters
from twofold.objectives import Loss
from twofold.parts import SlimDecoder, SlimEncoder, SlimNetwork, build, extract, sandwich, set_width, slim_sizes
from twofold.surgery import width_search
from twofold.tasks import load, task
from twofold.tasks.examples import rows_for, small_model

SHAPE = (12, 12)
RATIOS = (0.4, 0.6, 0.8, 1.0)


def network(seed: int = 0, outputs=(2, 2, 2), dims=(10, 20), decoder: int = 10, ratios=RATIOS) -> SlimNetwork:
    torch.manual_seed(seed)
    sizes = [slim_sizes(dim, ratios, 2) for dim in dims]
    own = slim_sizes(decoder, ratios, 2)
    decoders = [SlimDecoder([s[-1] for s in sizes], own, n, 2) for n in outputs]
    return SlimNetwork(SlimEncoder(3, sizes, 2), decoders, ("a", "b", "c")).eval()


IMAGES = torch.rand(2, *SHAPE, 3, generator=torch.Generator().manual_seed(0))


def same(first, second) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def data():
    return task("segment").read(rows_for(configure("ecmt")))


def small(id: str = "ecmt", **options):
    return replace(configure(id).small(), ratios=(0.5, 1.0), dims=(4, 8), **options)


@pytest.fixture(scope="module")
def model(data):
    return small().fit(data, Steps(8)).model


@pytest.mark.parametrize("widths", [(3, 3, 3, 3, 3), (0, 0, 0, 0, 0), (2, 0, 1, 3, 2), (0, 3, 0, 1, 2)])
def test_a_cut_network_gives_what_the_width_gave(widths) -> None:
    net = network(outputs=(5, 1, 1))
    expected = net.configure(widths)(IMAGES)
    cut = net.sliced(widths)
    same(cut(IMAGES), expected)
    assert cut.widths == 1
    assert cut.flops((0,) * 5, SHAPE) == net.flops(widths, SHAPE) == flops(cut, IMAGES) / 2 == flops(net, IMAGES) / 2
    assert parameters(cut) < parameters(net) or widths == (3, 3, 3, 3, 3)
    again = build(cut.spec())
    again.load_state_dict(cut.state_dict())
    same(again(IMAGES), expected)
    expected["a"].sum()  # weights of the cut network are its own
    with torch.no_grad():
        next(iter(net.parameters())).add_(1.0)
    same(cut(IMAGES), expected)


def test_full_width_is_the_network_without_widths() -> None:
    net, plain = network(), network(seed=1, ratios=(1.0,))
    plain.load_state_dict(net.state_dict())
    same(net(IMAGES), plain(IMAGES))


def test_a_stage_is_two_convolutions_beside_a_shortcut() -> None:
    stage = network().encoder.stages[1].eval()
    x = torch.rand(1, 10, 6, 6)
    conv = torch.nn.functional.conv2d

    def normed(y: torch.Tensor) -> torch.Tensor:
        pairs = y.reshape(1, -1, 2 * 3 * 3)
        mean, spread = pairs.mean(-1, keepdim=True), pairs.var(-1, keepdim=True, unbiased=False)
        return ((pairs - mean) / (spread + 1e-5).sqrt()).reshape(y.shape)

    for width, n in enumerate(stage.sizes):
        stage.width = width
        y = normed(conv(x, stage.first.weight[:n], stride=2, padding=1))
        y = normed(conv(y.relu(), stage.second.weight[:n, :n], padding=1))
        expected = (y + conv(x, stage.shortcut.weight[:n], stride=2)).relu()
        torch.testing.assert_close(stage(x), expected, rtol=1e-4, atol=1e-5)


def test_uniform_widths_go_through_the_common_door() -> None:
    net = network()
    set_width(net, 1)
    assert net.configuration == (1,) * 5
    same(extract(net, 1)(IMAGES), net(IMAGES))
    with pytest.raises(UserError, match="do not fit 2 stages and 3 decoders"):
        net.configure((0, 0))
    with pytest.raises(UserError, match="must rise"):
        slim_sizes(4, RATIOS, 4)


def test_sandwich() -> None:
    drawn = [sandwich([3, 2], np.random.default_rng(seed), 2) for seed in range(60)]
    assert all(each[:2] == [(2, 1), (0, 0)] and len(each) == 4 for each in drawn)
    assert {w for each in drawn for w in each[2:]} == set(itertools.product(range(3), range(2)))


@pytest.mark.parametrize("budget", [0.2, 0.35, 0.5, 0.8, 1.0])
def test_search_keeps_the_budget_and_prefers_what_is_preferred(budget: float) -> None:
    net = network()
    full = net.flops((3,) * 5, SHAPE)
    set_width(net, 2)

    def score() -> float:
        return float(sum(net.configuration[:2]))

    chosen = {}
    for order in itertools.permutations("abc"):
        widths = width_search(net, SHAPE, budget, dict(zip(order, (0.6, 0.3, 0.1), strict=True)), score)
        assert flops(net.sliced(widths), IMAGES) / 2 <= budget * full
        own = dict(zip("abc", widths[2:], strict=True))
        assert [own[name] for name in order] == sorted(own.values(), reverse=True)
        chosen[order] = (widths[:2], tuple(own[name] for name in order))
    assert len(set(chosen.values())) == 1  # the preference permuted permutes the decoders, and nothing else
    assert net.configuration == (2,) * 5
    alike = width_search(net, SHAPE, budget, dict.fromkeys("abc", 1.0), score)
    assert len(set(alike[2:])) == 1
    if budget == 1.0:
        assert alike == (3,) * 5


def test_search_narrows_the_stage_that_matters_least() -> None:
    net = network(dims=(10, 10, 10))
    for kept in range(3):
        widths = width_search(net, SHAPE, 0.75, {"a": 1.0}, lambda kept=kept: float(net.configuration[kept]))
        assert widths[kept] == 3


def test_search_refusals() -> None:
    net = network()
    least = net.flops((0,) * 5, SHAPE) / net.flops((3,) * 5, SHAPE)
    with pytest.raises(UserError, match=rf"it needs {np.ceil(1000 * least) / 1000:g} or more"):
        width_search(net, SHAPE, 0.9 * least, {"a": 1.0}, lambda: 0.0)
    assert width_search(net, SHAPE, np.ceil(1000 * least) / 1000, {"a": 1.0}, lambda: 0.0)
    with pytest.raises(UserError, match="above 0, at most 1"):
        width_search(net, SHAPE, 1.5, {"a": 1.0}, lambda: 0.0)
    with pytest.raises(UserError, match="no task is preferred"):
        width_search(net, SHAPE, 0.5, {"a": 0.0}, lambda: 0.0)
    with pytest.raises(UserError, match="'seg'"):
        width_search(net, SHAPE, 0.5, {"seg": 1.0}, lambda: 0.0)


def test_the_invariance_term_by_hand(data) -> None:
    system = small(invariance=3.0)
    net = system.start(data, 0).net
    batch = data.take(np.arange(4))
    with torch.no_grad():
        full = net.features(batch.images)
        set_width(net, 0)
        narrow = net.features(batch.images)
    zero = Loss(torch.zeros(()))
    expected = 0.0
    for guide, own, wanted in zip(net.widening.maps, narrow, full, strict=True):
        n = own.shape[1]
        mapped = torch.einsum("bchw,dc->bdhw", own, guide.weight[:, :n, 0, 0]) + guide.bias[:, None, None]
        expected += float((mapped - wanted).square().mean().detach()) / len(full)
    assert float(system.narrow(net, zero, narrow, full).value.detach()) == pytest.approx(3 * expected, rel=1e-5)


def test_no_gradient_reaches_the_features_at_full_width(data) -> None:
    system = small()
    net = system.start(data, 0).net
    batch = system.batches(system.start(data, 0), data, 0)(0, 0.0)
    grads = []
    for invariance in (1e-9, 5.0):
        # The narrow configurations alone learn from the term: those weights that only the full width has do not.
        net.zero_grad()
        both = replace(batch, configurations=((1,) * 5, (0,) * 5))
        replace(system, invariance=invariance).loss(net, both).value.backward()
        stage, sizes = net.encoder.stages[1], net.encoder.sizes[1]
        grads.append(stage.second.weight.grad[sizes[0] :].clone())
    assert grads[0].abs().sum() > 0
    assert torch.equal(grads[0], grads[1])
    assert all(p.grad is not None for p in net.widening.parameters())


def test_the_term_is_all_that_tells_the_arms_apart(data) -> None:
    with_term, without = small(), small("slimmable")
    first, second = with_term.start(data, 3), without.start(data, 3)
    own = second.net.state_dict()
    kept = {n: t for n, t in first.net.state_dict().items() if not n.startswith("widening")}
    assert kept.keys() == own.keys()
    assert all(torch.equal(t, own[n]) for n, t in kept.items())
    for step in range(3):
        one, other = (s.batches(m, data, 3)(step, 0.0) for s, m in ((with_term, first), (without, second)))
        assert one.configurations == other.configurations
        assert torch.equal(one.images, other.images)
    plain = without.loss(second.net, other)
    termed = replace(with_term, invariance=1e-12).loss(first.net, one)
    assert float(plain.value.detach()) == pytest.approx(float(termed.value.detach()), rel=1e-5)


def test_a_trained_model_is_cut_and_kept(model, data, tmp_path) -> None:
    assert model.net.widening is None
    assert model.net.configuration == (1,) * 5
    job = task("segment")
    assert job.evaluate(model, data, compute=1.0).figures["score"] == job.evaluate(model, data).figures["score"]
    half = job.evaluate(model, data, compute=0.6).figures
    assert half["compute"] <= 0.6
    made = api.apply("ecmt", model, rows_for(configure("ecmt")), budget=0.6, preference={"depth": 0.7, "edges": 0.3})
    widths = made.history[-1]["report"]["widths"]
    assert widths[3] >= widths[4] >= widths[2]
    assert made.costs()["flops"] <= 0.6 * model.costs()["flops"]
    image = data.images[0]
    made.save(tmp_path / "cut")
    again = load(tmp_path / "cut")
    for name, answer in made.predict(image).items():
        assert (again.predict(image)[name] == answer).all()
    with pytest.raises(UserError, match="one width only"):
        made.configure(0.5, data=data)
    assert [step["id"] for step in again.history] == ["ecmt", "ecmt"]


def test_refusals(model, data) -> None:
    rows = rows_for(configure("ecmt"))
    with pytest.raises(UserError, match=r"--set budget=0\.5"):
        api.apply("ecmt", model, rows)
    with pytest.raises(UserError, match="is for search"):
        api.apply("ecmt", small_model(), rows, budget=0.5)
    with pytest.raises(UserError, match=r"it needs 0\.\d+ or more"):
        api.apply("ecmt", model, rows, budget=0.01)
    with pytest.raises(UserError, match="rise to 1"):
        replace(small(), ratios=(0.5, 0.9)).start(data, 0)
    with pytest.raises(UserError, match="'edge'"):
        small(weights={"edge": 2.0}).start(data, 0)
