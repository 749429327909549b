"""Nested sizes [115]: one model, many widths; what is taken out of it; drafts of the narrow for the wide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from twofold import api
from twofold.catalog import Steps, configure
from twofold.decoding import generate, speculate
from twofold.errors import UserError
from twofold.measure.costs import parameters
from twofold.parts import ElasticFFN, OneOfSeveral, elastic, extract, set_width
from twofold.surgery import mix_n_match
from twofold.tasks import load, task
from twofold.tasks.examples import small_model, small_rows


@pytest.fixture(scope="module")
def data():
    return task("language").read(small_rows())


def small(id="matformer", **options):
    return replace(configure(id).small(), **options)


@pytest.fixture(scope="module")
def model(data):
    return small(layers=3, channel="gelu").fit(data, Steps(6)).model


def test_each_batch_has_a_width_that_follows_from_seed_and_step(data) -> None:
    system = small()
    batches = system.batches(system.start(data, 0), data, 0)
    widths = [batches(step, 0.0).width for step in range(200)]
    assert set(widths) == {0, 1, 2, 3}
    assert widths == [system.batches(system.start(data, 0), data, 0)(step, 0.5).width for step in range(200)]
    assert min(np.bincount(widths)) > 30
    only = replace(system, chances=(0.0, 0.0, 1.0, 0.0))
    assert {only.batches(only.start(data, 0), data, 0)(step, 0.0).width for step in range(20)} == {2}


def test_separate_models_take_turns_on_the_same_batches(data) -> None:
    system = small("separate-sizes")
    model = system.start(data, 0)
    assert isinstance(model.net, OneOfSeveral)
    batches = system.batches(model, data, 0)
    four = [batches(step, 0.0) for step in range(4)]
    assert [b.width for b in four] == [0, 1, 2, 3]
    assert all(torch.equal(b.ids, four[0].ids) for b in four)
    assert not torch.equal(batches(4, 0.0).ids, four[0].ids)
    model = system.fit(data, Steps(1)).model
    start = system.start(data, 0).net.state_dict()
    moved = {n.split(".")[1] for n, p in model.net.named_parameters() if not torch.equal(p, start[n])}
    assert moved == {"0"}


def test_the_claims_sizes_are_the_same_networks() -> None:
    apart, nested = (configure(arm) for arm in configure("matformer").claim.arms)
    several, one = apart.network(260), nested.network(260)
    assert parameters(one) / parameters(several) < 0.5
    for width in range(4):
        assert extract(one, width).spec() == extract(several, width).spec()


def test_every_width_is_judged(model, data) -> None:
    job = task("language")
    found = job.evaluate(model, data, every_width=True)
    each = [found.figures[f"bits_per_byte.{width}"] for width in range(4)]
    assert found.figures["bits_per_byte"] == pytest.approx(np.mean(each))
    assert job.evaluate(model, data).figures["bits_per_byte"] == each[-1]
    small_one = api.apply("matformer", model, small_rows(), widths=(1,))
    assert job.evaluate(small_one, data).figures["bits_per_byte"] == pytest.approx(each[1])


def test_models_are_taken_out(model, tmp_path) -> None:
    ids = torch.randint(0, 200, (2, 9))
    for widths in ((0,), (3,), (0, 1, 3)):
        made = api.apply("matformer", model, small_rows(), widths=widths)
        set_width(model.net, widths[0] if len(widths) == 1 else widths)
        assert torch.equal(made.net(ids), model.net(ids))
        set_width(model.net, 3)
        assert not list(elastic(made.net))
        made.save(tmp_path / "model")
        assert torch.equal(load(tmp_path / "model").net(ids), made.net(ids))
    full = api.apply("matformer", model, small_rows(), widths=(3,))
    assert full.parameters == model.parameters


def test_a_budget_is_filled_by_rising_widths(model) -> None:
    sizes = [parameters(api.apply("matformer", model, small_rows(), widths=(w,)).net) for w in range(4)]
    for budget in (sizes[0], sizes[1] - 1, (sizes[1] + sizes[2]) // 2, sizes[3], 10 * sizes[3]):
        made = api.apply("matformer", model, small_rows(), budget=budget)
        chosen = made.history[-1]["report"]["widths"]
        assert chosen == sorted(chosen)
        assert max(chosen) - min(chosen) <= 1
        assert made.parameters <= budget
        if chosen != [3, 3, 3]:
            wider = [*chosen]
            wider[max(i for i, w in enumerate(chosen) if w == min(chosen))] += 1
            assert parameters(api.apply("matformer", model, small_rows(), widths=tuple(wider)).net) > budget
    assert mix_n_match(model.net, sizes[1]) == [1, 1, 1]
    assert all(part.width == 3 for _, part in elastic(model.net))
    with pytest.raises(UserError, match=f"even the narrowest model has {sizes[0]:,} weights"):
        mix_n_match(model.net, sizes[0] - 1)


@pytest.mark.parametrize("ahead", [1, 3, 7])
def test_drafts_of_the_narrow_give_the_text_of_the_wide(model, ahead: int) -> None:
    def at(width):
        def network():
            set_width(model.net, width)
            return model.net

        return network

    prompt = [1, 70, 90, 33]
    expected = generate(at(3)(), [prompt], 20).ids[0].tolist()
    found = speculate(at(0), at(3), prompt, 20, ahead=ahead)
    assert found.ids == expected
    assert 0 <= found.accepted <= found.drafted
    same = speculate(at(3), at(3), prompt, 20, ahead=ahead)
    assert same.ids == expected
    assert same.accepted == same.drafted
    assert same.checks == -(-20 // (ahead + 1))
    stop = expected[5]
    ended = speculate(at(0), at(3), prompt, 20, ahead=ahead, stop=(stop,))
    assert ended.ids == expected[: expected.index(stop) + 1]
    with pytest.raises(UserError, match="prompt is empty"):
        speculate(at(0), at(3), [], 5)


def test_refusals(model, data) -> None:
    with pytest.raises(UserError, match="must rise"):
        small(sizes=(1.0, 1.0)).network(20)
    with pytest.raises(UserError, match="leave hidden and linear out"):
        small(hidden=(2.0,)).network(20)
    with pytest.raises(UserError, match="one width only"):
        api.apply("matformer", small_model(), small_rows(), widths=(0,))
    with pytest.raises(UserError, match="one of the two"):
        api.apply("matformer", model, small_rows())
    with pytest.raises(UserError, match=r"widths \[4, 4, 4\] do not fit"):
        api.apply("matformer", model, small_rows(), widths=(4,))
    system = small(chances=(1.0,))
    with pytest.raises(UserError, match="do not fit 4 sizes"):
        system.batches(system.start(data, 0), data, 0)
    assert isinstance(model.net.stack.layers[0].channel, ElasticFFN)
