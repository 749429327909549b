"""FlexiBERT [225]: designs and their graphs, the surrogate, climbing with curvature, weights handed on, the search."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import networkx
import numpy as np
import pytest
import torch

from twofold import api
from twofold.catalog import configure
from twofold.cli import main
from twofold.data.tokenizers import ByteTokenizer
from twofold.errors import UserError
from twofold.measure.costs import cost, parameters
from twofold.measure.graph_distance import apart, graph_distance, graph_distances, placed, stress
from twofold.parts import (
    Attention,
    CosineTransform,
    Design,
    FourierTransform,
    Graph,
    Layer,
    MultiplicativeAttention,
    NaturalLinear,
    NaturalNetwork,
    Pattern,
    SearchSpace,
    SeparableConv,
    Surrogate,
)
from twofold.parts.designs import EDGE, OPERATIONS
from twofold.parts.natural import natural_sigmoid
from twofold.surgery import transfer_weights
from twofold.tasks.designs import AtRandom, Bench, Boshnas, Evolution, ExpectedImprovement, Limits, replay, search
from twofold.tasks.designs.search import network, table
from twofold.tasks.designs.system import drawn
from twofold.tasks.examples import small_model, small_rows
from twofold.training import Recipe
from twofold.training.second_order import ascend, ascend_by_gradient, hutchinson

SPACE = SearchSpace((1, 2, 3), dims=(16, 24), hidden=(16, 32))
RNG = np.random.default_rng(0)
TEXTS = [f"{i} times {i} makes {i * i}, and {i} from {3 * i} leaves {2 * i}." for i in range(40)]


def bench(steps: int = 2) -> Bench:
    return Bench(TEXTS, ByteTokenizer(), 32, 4, 0.15, steps, Recipe(lr=1e-2))


# -- designs and graphs


def test_config_graph_config() -> None:
    for design in SPACE.sample(200, np.random.default_rng(1)):
        assert SPACE.design(SPACE.graph(design)) == design
        assert Design.read(json.loads(json.dumps(design.rows()))) == design
        nodes = len(SPACE.graph(design).nodes)
        assert nodes == sum(1 + layer.stacks for layer in design.layers)
        assert len(SPACE.graph(design).edges) == nodes + 1


def test_equal_designs_share_an_id() -> None:
    one = Design.read([{"operation": "conv5", "dim": 16, "hidden": 32, "heads": 4}])
    other = Design.read([{"hidden": 32, "dim": 16, "operation": "conv5"}])
    assert one == other
    assert one.id == other.id
    heads = [Design((Layer("sdp", 16, 32, heads=n),)) for n in (2, 4)]
    assert heads[0].id != heads[1].id
    every = SearchSpace((1, 2), dims=(16,), hidden=(16, 32), stacks=(1,)).sample(10_000, RNG)
    assert len({design.id for design in every}) == len(every) == len(set(every))


def test_the_space_is_counted_and_drawn_without_repeats() -> None:
    small = SearchSpace((1, 2), ("sdp", "dft"), (2, 4), (16,), (16, 32), (1,))
    assert len(small.choices) == 2 * 2 + 2  # heads count in attention alone
    assert small.size == 6 + 36 == len(small.sample(100, RNG))
    coarse = small.sample(100, RNG, 2)
    assert all(design.even for design in coarse)
    assert len(set(SPACE.sample(50, RNG))) == 50
    assert len(SearchSpace((4,)).sample(20, RNG, 2)[0].layers) == 4
    paper = SearchSpace()
    assert (paper.dims, paper.hidden, paper.stacks) == ((128, 256), (512, 1024), (1, 3))
    near = small.near(small.sample(1, np.random.default_rng(3))[0])
    assert near
    assert len(set(near)) == len(near)
    table = drawn(SPACE, 30)
    assert [design.even for design in table] == [True] * 10 + [False] * 20
    assert table == drawn(SPACE, 30)


def exact(a: Graph, b: Graph) -> float:
    """Every way to match nodes of one kind, in any order."""
    best = np.inf
    edges = set(b.edges)
    for k in range(min(len(a.nodes), len(b.nodes)) + 1):
        for i in itertools.combinations(range(len(a.nodes)), k):
            for j in itertools.permutations(range(len(b.nodes)), k):
                pairs = [(a.nodes[x], b.nodes[y]) for x, y in zip(i, j, strict=True)]
                if any(x.kind != y.kind for x, y in pairs):
                    continue
                value = sum(sum(abs(p - q) for p, q in zip(x.point, y.point, strict=True)) for x, y in pairs)
                value += sum(node.weight for place, node in enumerate(a.nodes) if place not in i)
                value += sum(node.weight for place, node in enumerate(b.nodes) if place not in j)
                match = {x + 1: y + 1 for x, y in zip(i, j, strict=True)} | {0: 0, len(a.nodes) + 1: len(b.nodes) + 1}
                kept = sum((match.get(x), match.get(y)) in edges for x, y in a.edges)
                best = min(best, value + EDGE * (len(a.edges) + len(b.edges) - 2 * kept))
    return float(best)


def as_networkx(graph: Graph) -> networkx.DiGraph:
    made = networkx.DiGraph()
    for place, node in enumerate(("input", *graph.nodes, "output")):
        made.add_node(place, is_=node)
    made.add_edges_from(graph.edges)
    return made


def networkx_distance(a: Graph, b: Graph) -> float:
    def substituted(x, y) -> float:
        x, y = x["is_"], y["is_"]
        if isinstance(x, str) or isinstance(y, str):
            return 0.0 if x == y else 1000.0
        if x.kind != y.kind:
            return 1000.0
        return sum(abs(p - q) for p, q in zip(x.point, y.point, strict=True))

    def gone(x) -> float:
        return 1000.0 if isinstance(x["is_"], str) else x["is_"].weight

    costs = {"node_subst_cost": substituted, "node_del_cost": gone, "node_ins_cost": gone}
    edge = {"edge_del_cost": lambda _: EDGE, "edge_ins_cost": lambda _: EDGE}
    return float(networkx.graph_edit_distance(as_networkx(a), as_networkx(b), **costs, **edge))


def test_distance_is_the_exact_edit_distance_on_graphs_of_six_nodes() -> None:
    rng = np.random.default_rng(2)
    graphs = [SPACE.graph(d) for d in SearchSpace((1, 2), dims=(16, 24), hidden=(16, 32)).sample(2000, rng)]
    graphs = [graph for graph in graphs if len(graph.nodes) <= 4]
    agreed = 0
    for _ in range(25):
        a, b = (graphs[int(i)] for i in rng.integers(len(graphs), size=2))
        found = graph_distance(a, b)
        assert found == pytest.approx(exact(a, b), abs=1e-9)
        other = networkx_distance(a, b)  # its search leaves out some matches, so it may stop above, never below
        assert other >= found - 1e-9
        agreed += other == pytest.approx(found, abs=1e-9)
    assert agreed >= 20


def test_distance_is_a_metric() -> None:
    designs = SPACE.sample(40, np.random.default_rng(4))
    distances = graph_distances([SPACE.graph(design) for design in [*designs, designs[0]]])
    assert np.array_equal(distances, distances.T)
    assert distances[0, -1] == 0
    assert (distances[:-1, :-1][~np.eye(40, dtype=bool)] > 0).all()
    assert (distances[:, :, None] <= distances[:, None, :] + distances[None, :, :] + 1e-9).all()
    assert graph_distance(SPACE.graph(designs[1]), SPACE.graph(designs[2])) == pytest.approx(distances[1, 2])


def test_points_stand_as_far_apart_as_they_should() -> None:
    flat = RNG.normal(size=(12, 3))
    assert stress(apart(flat), placed(apart(flat), 3)) < 1e-6
    distances = graph_distances([SPACE.graph(design) for design in SPACE.sample(40, np.random.default_rng(5))])
    points = placed(distances)
    assert points.shape == (40, 16)
    assert stress(distances, points) < stress(distances, placed(distances, rounds=0)) < 0.3
    assert stress(distances, points) < 0.1


# -- operations


def test_transforms_are_those_of_torch_and_scipy() -> None:
    from scipy.fft import dct

    x = torch.randn(2, 9, 6, dtype=torch.float64)
    torch.testing.assert_close(FourierTransform(6)(x), torch.fft.fft2(x, norm="ortho").real)
    expected = dct(dct(x.numpy(), axis=-1, norm="ortho"), axis=-2, norm="ortho")
    torch.testing.assert_close(CosineTransform(6)(x), torch.from_numpy(expected))


@pytest.mark.parametrize("mixer", [FourierTransform(8), CosineTransform(8), SeparableConv(8, 5)])
def test_padding_and_other_texts_count_for_nothing(mixer) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 10, 8)
    real = torch.arange(10) < torch.tensor([[10], [6]])
    y, other = mixer(x, real), mixer(torch.where(real[..., None], x, 9.0), real)
    torch.testing.assert_close(y[1, :6], mixer(x[1:, :6])[0])
    torch.testing.assert_close(y[1, :6], other[1, :6])


def test_a_score_of_one_is_plain_attention() -> None:
    torch.manual_seed(0)
    weighted, plain = MultiplicativeAttention(16, 2), Attention(16, 2)
    plain.load_state_dict({n: t for n, t in weighted.state_dict().items() if n != "score"})
    x = torch.randn(2, 7, 16)
    assert not torch.allclose(weighted(x), plain(x))
    with torch.no_grad():
        weighted.score.copy_(torch.eye(8).expand(2, 8, 8))
    torch.testing.assert_close(weighted(x), plain(x))


def test_widths_change_between_layers() -> None:
    layers = [{"mixer": "attention", "dim": 16}, {"mixer": "none", "channel": "gelu", "dim": 24}]
    net = Pattern.read(layers, dim=16).network(40)
    ids = torch.randint(0, 40, (2, 5))
    assert net(ids).shape == (2, 5, 40)
    assert [type(layer).__name__ for layer in net.stack.layers] == ["Block", "Resize", "Block", "Resize"]
    plain = Pattern.read([{"mixer": "attention"}], dim=16).network(40)
    extra = 2 * (2 * 24 * 96 + 2 * 16 * 24)  # feed-forward part and both projections
    assert cost(net, 8).flops - cost(plain, 8).flops == extra
    with pytest.raises(UserError, match="dim is 'wide'"):
        Pattern.read([{"mixer": "attention", "dim": "wide"}])


# -- weights handed on


def test_weights_of_the_same_design_give_the_same_outputs() -> None:
    ids = torch.randint(0, 260, (2, 12))
    for design in SPACE.sample(6, np.random.default_rng(6)):
        torch.manual_seed(0)
        first, second = (network(design, 260, 32).eval() for _ in range(2))
        assert not torch.equal(first(ids), second(ids))
        assert transfer_weights(first, second) == 1.0
        assert torch.equal(first(ids), second(ids))


def test_weights_are_handed_on_where_they_overlap() -> None:
    small = Design((Layer("sdp", 16, 16, 1, 2), Layer("conv5", 16, 16)))
    large = Design((Layer("sdp", 24, 32, 3, 4), Layer("conv5", 16, 16)))
    source, target = network(small, 260, 32), network(large, 260, 32)
    before = target.stack.layers[0].channel.up.weight.clone()
    assert 0.1 < transfer_weights(source, target) < 1
    up = target.stack.layers[0].channel.up.weight
    assert torch.equal(up[:16, :16], source.stack.layers[0].channel.up.weight)
    assert torch.equal(up[16:], before[16:])
    # The second layer stands behind two more feed-forward parts and a projection, and still gets what is its own.
    assert torch.equal(target.stack.layers[4].mixer.conv.weight, source.stack.layers[1].mixer.conv.weight)


# -- the surrogate


def test_natural_parameters_are_means_and_variances_of_samples() -> None:
    torch.manual_seed(0)
    layer = NaturalLinear(3, 2, start=0.5)
    mean, variance = torch.randn(1, 3), torch.rand(1, 3)
    found = layer(mean, variance)
    many = 200_000
    a = mean + variance.sqrt() * torch.randn(many, 3)
    w = layer.weight + (layer.log_weight / 2).exp() * torch.randn(many, 2, 3)
    b = layer.bias + (layer.log_bias / 2).exp() * torch.randn(many, 2)
    drawn_ = (w * a[:, None]).sum(-1) + b
    torch.testing.assert_close(found[0][0], drawn_.mean(0), rtol=0.03, atol=0.02)
    torch.testing.assert_close(found[1][0], drawn_.var(0), rtol=0.03, atol=0.02)
    squashed = torch.sigmoid(torch.tensor(0.7) + 1.5 * torch.randn(many))
    ours = natural_sigmoid(torch.tensor([0.7]), torch.tensor([1.5**2]))
    assert float(ours[0]) == pytest.approx(float(squashed.mean()), abs=0.03)
    assert float(ours[1]) == pytest.approx(float(squashed.var()), abs=0.03)
    mean, variance = NaturalNetwork(3, 8)(torch.randn(5, 3))
    assert mean.shape == variance.shape == (5,)
    assert (variance > 0).all()


def test_the_surrogate_learns_values_and_what_it_does_not_know() -> None:
    points = np.random.default_rng(0).normal(size=(40, 16))
    losses = points[:, 0] - 0.5 * points[:, 1]
    made = Boshnas(points, 0)
    for _ in range(4):
        made.fit(range(40), losses)
    value, data, model = made.surrogate(made.x)
    assert np.corrcoef(value.detach(), -losses)[0, 1] > 0.9
    assert (data > 0).all()
    assert (model > 0).all()
    doubt = Surrogate(16).doubt(made.x[:3])
    assert doubt.shape == (3,)
    assert (doubt > 0).all()
    far = made.surrogate.doubt(10 * made.x)
    assert far.mean() > made.surrogate.doubt(made.x).mean()


def test_curvature_is_exact_where_the_hessian_is_diagonal() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    scale = torch.tensor([1.0, 5.0, 0.2])
    (gradient,) = torch.autograd.grad((-scale * x**2).sum(), x, create_graph=True)
    found = hutchinson(gradient, x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, (-2 * scale).expand(4, 3))


@pytest.mark.parametrize("climb", [ascend, ascend_by_gradient])
def test_climbing_goes_up_and_stays_inside(climb) -> None:
    top = torch.tensor([0.5, -0.5, 3.0])

    def value(x: torch.Tensor) -> torch.Tensor:
        return -((x - top) ** 2 * torch.tensor([1.0, 10.0, 0.1])).sum(-1)

    start, low, high = torch.zeros(2, 3), torch.full((3,), -1.0), torch.ones(3)
    end = climb(value, start, low, high, 40, torch.Generator().manual_seed(0))
    assert (value(end) > value(start)).all()
    assert (end <= high).all()
    torch.testing.assert_close(end[0, :2], top[:2], atol=0.15, rtol=0)
    assert float(end[0, 2]) == pytest.approx(1.0, abs=0.05)


# -- proposals and searches


@pytest.mark.parametrize("kind", [AtRandom, Evolution, ExpectedImprovement, Boshnas])
def test_proposals_are_untried_and_repeat(kind) -> None:
    points = np.random.default_rng(0).normal(size=(12, 16))
    losses = points[:, 0]

    def asked() -> list[int]:
        made, tried = kind(points, 3), [0, 1, 2]
        while len(tried) < 7:
            tried.append(made.ask(tried, [float(losses[i]) for i in tried]))
        return tried

    first = asked()
    assert len(set(first)) == 7
    assert first == asked()


def test_replay_counts_to_the_first_good_one() -> None:
    losses = [2.0, 2.0, 2.0, 1.005, 1.0, 3.0, 3.0, 3.0]  # two are good, three of the others are given
    points = np.arange(8.0)[:, None]
    runs = [replay(losses, points, AtRandom, seed, 3) for seed in range(1500)]
    assert runs[0].expected == (8 - 3 + 1) / 3
    assert np.mean([run.queries for run in runs]) == pytest.approx(2.0, abs=0.08)
    assert max(run.queries for run in runs) <= 4
    with pytest.raises(UserError, match="nothing to search for"):
        replay([1.0] * 8, points, AtRandom, 0, 3)


def test_a_table_is_trained_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path))
    designs = SPACE.sample(3, np.random.default_rng(7))
    first = table(bench(), designs, "data")
    monkeypatch.setattr(Bench, "train", lambda *_: pytest.fail("trained again"))
    assert table(bench(), designs, "data") == [replace(one, net=None) for one in first]
    with pytest.raises(pytest.fail.Exception):
        table(bench(), designs, "other data")
    with pytest.raises(pytest.fail.Exception):
        table(bench(3), designs, "data")


def test_a_search_goes_from_coarse_to_fine_and_hands_weights_on() -> None:
    space = SearchSpace((2,), ("sdp", "conv5", "dct"), (2,), (16,), (16, 32), (1,))
    how = {"pool": 5, "given": 2, "run": 2, "seed": 0}
    found = search(space, bench(), AtRandom, Limits(6, None), **how)
    assert len({one.design for one in found}) == 6
    assert all(one.design.even for one in found[:3])
    assert any(not one.design.even for one in found[3:])
    assert found[0].given == 0
    assert all(0 < one.given <= 1 for one in found[1:])
    assert found[0].parameters == parameters(found[0].net)
    again = search(space, bench(), AtRandom, Limits(6, None), **how)
    assert [one.loss for one in again] == [one.loss for one in found]
    assert len(search(space, bench(), AtRandom, Limits(None, 1e-9), **how)) == 1


def test_the_study_on_a_persons_text(tmp_path, capsys) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(small_rows().columns["text"]))
    options = {n: v for n, v in configure("flexibert").small().options().items() if v is not None}
    line = ["study", "flexibert", str(file), "-o", str(tmp_path / "out"), "--json", "--quiet"]
    assert main([*line, *(f"--set={name}={json.dumps(value)}" for name, value in options.items())]) == 0
    capsys.readouterr()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["figures"]["designs"] == 4
    assert (tmp_path / "out" / "best.safetensors").is_file()
    design = Design.read(report["extra"]["design"])
    net = Pattern.read(report["extra"]["backbone"]).network(260, head=False)
    assert parameters(net) < parameters(network(design, 260, 32))
    system = replace(configure("flexibert", design=report["extra"]["design"]).small())
    assert system.network(260).spec() == network(design, 260, system.length).spec()


def test_the_claims_arms_differ_in_who_proposes_alone() -> None:
    baseline, method = (configure(arm) for arm in configure("flexibert").claim.arms)
    both = [{n: v for n, v in arm.options().items() if n in baseline.options()} for arm in (baseline, method)]
    assert both[0] == both[1]
    assert set(baseline.operations) == set(OPERATIONS)


def test_refusals() -> None:
    with pytest.raises(UserError, match="trains its own encoders"):
        api.study("flexibert", small_model(), small_rows())
    with pytest.raises(UserError, match="width of 36 does not divide into 4 heads"):
        SearchSpace(dims=(36,))
    with pytest.raises(UserError, match="width of 36 does not divide into 4 heads"):
        configure("flexibert", dims=(36,)).check()
    with pytest.raises(UserError, match="'fft' is none of sdp"):
        SearchSpace(operations=("fft",))
    with pytest.raises(UserError, match="lacks hidden"):
        configure("flexibert", design=[{"operation": "sdp", "dim": 16}])
    with pytest.raises(UserError, match="key of a layer"):
        Design.read([{"operation": "sdp", "width": 16}])
    with pytest.raises(UserError, match="at least 10, to judge by some"):
        Bench(TEXTS[:5], ByteTokenizer(), 32, 4, 0.15, 2, Recipe())
