"""Low-rank feed-forward parts [184]: equal operations, guides over training, the study, the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure, index
from twofold.cli import main
from twofold.errors import UserError
from twofold.measure.costs import cost, flops
from twofold.parts import Attention, BlockDense, Dense, LowRankLinear, SelfGuided
from twofold.tasks import load, task
from twofold.tasks.examples import small_rows
from twofold.training import Recipe
from twofold.trials.arms import parse, split_arms


@pytest.fixture(scope="module")
def data():
    return task("language").read(small_rows())


def small(**options):
    return replace(configure("lowrank-ffn").small(), **options)


def test_the_claims_arms_cost_the_same() -> None:
    baseline, method = (configure(arm) for arm in configure("lowrank-ffn").claim.arms)
    dense, wide = baseline.network(260), method.network(260)
    d, w = 96, 164
    assert wide.dim == w
    # Attention: queries and out w·80 each, keys and values w·40 each; two maps of rank w/4 between w and 4w.
    maps = 2 * w * 80 + 2 * w * 40 + 2 * (w // 4) * 5 * w
    assert cost(wide, 128).flops == 3 * 2 * (maps + 128 * 80) + 2 * 260 * w
    assert cost(dense, 128).flops == 3 * 2 * (12 * d * d + 128 * d) + 2 * 260 * d
    assert 0.98 < cost(wide, 128).flops / cost(dense, 128).flops <= 1
    ids = torch.zeros(1, 128, dtype=torch.long)
    assert flops(wide, ids) == 128 * (cost(wide, 128).flops + 3 * 2 * 128 * 80)  # the counter knows no causal half

    def training(net):
        def call() -> None:
            with torch.enable_grad():
                net(ids).sum().backward()

        return call

    assert 0.97 < flops(training(wide)) / flops(training(dense)) <= 1
    assert baseline.length == method.length
    assert baseline.batch == method.batch
    assert baseline.recipe() == replace(method.recipe(), lr=baseline.lr) == Recipe(lr=baseline.lr)


@pytest.mark.parametrize("dim", [48, 64, 128])
def test_wide_is_as_wide_as_its_operations_allow(dim: int) -> None:
    system = configure("lowrank-ffn", dim=dim, layers=2, length=64)
    wide, allowed = system.network(260), cost(system.dense.network(260), 64).flops
    assert 0.9 * allowed < cost(wide, 64).flops <= allowed
    attention = wide.stack.layers[0].mixer
    assert isinstance(attention, Attention)
    assert attention.kv_heads == attention.heads // 2
    assert abs(attention.heads * attention.head_dim - wide.dim / 2) <= attention.heads
    assert isinstance(attention.query, Dense)
    assert wide.stack.layers[0].channel.up.rank == wide.dim // 4


def test_slim_keeps_a_third_of_the_feed_forward_weights() -> None:
    system = configure("lowrank-ffn", dim=64, layers=1, shape="slim")
    channel, dense = (s.network(260).stack.layers[0].channel for s in (system, system.dense))
    count = [sum(p.numel() for p in part.parameters()) for part in (channel, dense)]
    assert count[0] / count[1] == 5 * 16 / (4 * 64)
    assert isinstance(system.dense.network(260).stack.layers[0].channel.up, Dense)


def test_full_rank_starts_as_the_dense_decoder() -> None:
    system = small(shape="slim", linear={"ffn": "lowrank(1.0)"})
    nets = []
    for made in (system, system.dense):
        torch.manual_seed(0)
        nets.append(made.network(40))
    ids = torch.arange(20)[None]
    torch.testing.assert_close(nets[0](ids), nets[1](ids), rtol=1e-4, atol=1e-5)


def test_the_guide_leads_for_half_of_training_and_leaves_no_trace(data) -> None:
    system = small(shape="slim", guided=True)
    model = system.start(data, 0)
    batches = system.batches(model, data, 0)
    shares = [batches(0, progress).alpha for progress in (0.0, 0.25, 0.5, 0.75)]
    assert shares == pytest.approx([1.0, 0.5, 0.0, 0.0])
    system.loss(model.net, batches(0, 0.25))
    assert all(float(m.alpha) == 0.5 for m in model.net.modules() if isinstance(m, SelfGuided))
    half = system.fit(data, Steps(8), until=0.25).model
    assert any(isinstance(m, SelfGuided) for m in half.net.modules())
    whole = system.fit(data, Steps(8)).model
    assert not any(isinstance(m, SelfGuided) for m in whole.net.modules())
    assert whole.net.spec() == small(shape="slim").start(data, 0).net.spec()
    assert whole.parameters < half.parameters


def test_training_goes_on_with_its_guides(data, tmp_path) -> None:
    system = small(shape="slim", guided=True, guide_sampled=True)
    once = system.fit(data, Steps(6)).model
    system.fit(data, Steps(6), folder=tmp_path, until=0.3)
    again = system.fit(data, Steps(6), folder=tmp_path).model
    assert all(torch.equal(v, again.net.state_dict()[k]) for k, v in once.net.state_dict().items())


def test_a_sampled_guide_takes_part_with_its_share_as_probability(data) -> None:
    system = small(guided=True, guide_sampled=True)
    batches = system.batches(system.start(data, 0), data, 0)
    torch.manual_seed(0)
    alphas = [batches(0, 0.25).alpha for _ in range(400)]
    assert {round(a, 6) for a in alphas} == {0.0, 0.5}
    assert 0.4 < sum(a > 0 for a in alphas) / 400 < 0.6


def test_refusals(data) -> None:
    with pytest.raises(UserError, match="heads is 3"):
        small(heads=3, dim=36).network(40)
    with pytest.raises(UserError, match=r"rank 80 .* min\(32, 128\) = 32"):
        small(shape="slim", linear={"ffn": "lowrank(80)"}).network(40)
    with pytest.raises(UserError, match=r"unknown kind of linear map 'lowrnk'. Did you mean"):
        configure("lowrank-ffn", linear="lowrnk(0.5)")
    with pytest.raises(UserError, match="unknown place"):
        configure("decoder", linear={"ff": "lowrank(0.5)"})
    with pytest.raises(UserError, match="linear is 3"):
        configure("decoder", linear=3)
    with pytest.raises(UserError, match=r"ffn is 0.5"):
        configure("decoder", linear={"ffn": 0.5})


def test_the_study_of_a_model_cuts_its_trained_weights(data) -> None:
    model = configure("decoder").small().fit(data, Steps(5)).model
    report = api.study("lowrank-ffn", model, small_rows(), texts=4)
    assert report.figures["bits_per_byte.1"] == pytest.approx(report.figures["bits_per_byte.as_it_is"], rel=1e-4)
    assert report.figures["bits_per_byte.0.25"] != report.figures["bits_per_byte.as_it_is"]
    with pytest.raises(UserError, match="factorises language models"):
        api.study("lowrank-ffn", _search_model(), small_rows())


def _search_model():
    from twofold.tasks.examples import small_model

    return small_model()


def test_one_id_is_a_model_and_a_study() -> None:
    card = index.card("lowrank-ffn")
    assert index.kinds(card) == ("model", "study")
    assert card in index.select(kind="study")
    assert card in index.select(kind="model")
    with pytest.raises(UserError, match="decoder is a model, not a study"):
        api.study("decoder")
    with pytest.raises(UserError, match="lowrank-ffn is a model, not a transform"):
        api.apply("lowrank-ffn", _search_model(), small_rows())


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("\n".join(small_rows().columns["text"]))
    return str(file)


def sets(**changes: str) -> list[str]:
    options = small().options() | {"linear": "{ffn: lowrank(0.25)}"} | changes
    return [f"--set={name}={value}" for name, value in options.items() if value is not None]


@pytest.mark.parametrize("linear", ["{ffn: lowrank(0.5), attn: dense}", "{ffn: 'blockdense(8, 2)', attn: lowrank(4)}"])
def test_kinds_of_linear_maps_from_the_command_line(linear: str, mine: str, tmp_path) -> None:
    out = str(tmp_path / "model")
    assert main(["fit", "lowrank-ffn", mine, "-o", out, "--steps", "1", "--quiet", *sets(linear=linear)]) == 0
    block = load(out).net.stack.layers[0]
    assert isinstance(block.channel.up, LowRankLinear if "dense}" in linear else BlockDense)
    assert isinstance(block.mixer.query, Dense if "dense}" in linear else LowRankLinear)


def test_one_option_of_many_from_the_command_line(mine: str, tmp_path, capsys) -> None:
    line = ["fit", "lowrank-ffn", mine, "-o", str(tmp_path / "model"), "--quiet"]
    assert main([*line, "--set=shape=slim", "--set=linear.ffn=lowrank(999)"]) == 2
    assert "rank 999 lies outside 1 to min(128, 512) = 128" in capsys.readouterr().err


def test_the_study_reports_exponents_with_their_intervals(mine: str, capsys) -> None:
    assert main(["study", "lowrank-ffn", mine, "--json", "--quiet", *sets(sizes="16,24")]) == 0
    report = json.loads(capsys.readouterr().out)
    figures = report["figures"]
    for form in ("dense", "half_rank", "quarter_rank", "wide"):
        low, mean, high = (figures[f"exponent{end}.{form}"] for end in ("_low", "", "_high"))
        assert low <= mean <= high
    operations = {tuple(row[:2]): row[4] for row in report["tables"][0]["rows"]}
    assert len(operations) == 8
    assert operations["quarter rank", 24] < operations["half rank", 24] < operations["dense", 24]
    assert 0.7 < operations["wide", 24] / operations["dense", 24] <= 1


def test_arms_with_kinds_of_linear_maps() -> None:
    arms = split_arms("decoder(dim=64, linear={ffn: lowrank(0.5), attn: dense}),decoder(linear=lowrank(0.5)),xz")
    assert len(arms) == 3
    assert parse(arms[0]).options == {"dim": 64, "linear": {"ffn": "lowrank(0.5)", "attn": "dense"}}
    assert parse(arms[1]).options == {"linear": "lowrank(0.5)"}
    assert configure(parse(arms[0])).linear == {"ffn": "lowrank(0.5)", "attn": "dense"}
