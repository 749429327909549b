"""Diff-Mamba: its size and its layers. The mixer itself: tests/parts/test_long_mixers.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.errors import UserError
from twofold.measure.costs import parameters
from twofold.parts import S6, SSD, Differential, Mask
from twofold.tasks import task
from twofold.tasks.examples import small_rows


def mixers(net: Any) -> list[Differential]:
    return [block.mixer for block in net.stack.layers]


def test_a_pair_is_as_large_as_the_baselines_block_and_remembers_as_much() -> None:
    claim: Any = configure("diff-mamba").claim
    nets = [configure(arm.id, **arm.options).network(65) for arm in claim.arms]  # type: ignore[attr-defined]
    assert parameters(nets[1]) == pytest.approx(parameters(nets[0]), rel=0.03)
    held = [net.new_cache(1, 8).layers[0] for net in nets]
    states = [held[0].layers[1].nbytes, sum(half.layers[1].nbytes for half in held[1].layers)]
    assert states[0] == states[1]


def test_each_layer_knows_which_it_is() -> None:
    made: Any = configure("diff-mamba", dim=32, layers=3, head_dim=8)
    starts = [mixer.start for mixer in mixers(made.network(10))]
    assert starts[0] == pytest.approx(0.2)
    assert starts == sorted(set(starts))


def test_either_mamba_can_be_doubled() -> None:
    for name, kind in (("ssd", SSD), ("s6", S6)):
        made: Any = configure("diff-mamba", inner=name, dim=32, layers=1)
        (mixer,) = mixers(made.network(10))
        assert isinstance(mixer.inner, kind)
        assert isinstance(mixer.other, kind)


def test_it_learns_texts_and_recall() -> None:
    small: Any = configure("diff-mamba").small()
    model = small.fit(task("language").read(small_rows()), Steps(2)).model
    ids = torch.randint(0, 256, (1, 12))
    with torch.inference_mode():
        changed = ids.clone()
        changed[:, 7:] = 0
        one, two = (model.net(given, Mask.causal())[:, :7] for given in (ids, changed))
    assert torch.equal(one, two)
    data = task("solve").read("mqar(time=16, pairs=2)").cut(0.02)  # type: ignore[attr-defined]
    figures = task("solve").evaluate(small.fit(data, Steps(1)).model, data).figures
    assert 0 <= figures["accuracy"] <= 1
    assert 0 < figures["bits_per_label"] < 10


def test_widths_that_do_not_divide_are_refused() -> None:
    made: Any = configure("diff-mamba", dim=40, head_dim=16)
    with pytest.raises(UserError, match="head_dim=8"):
        made.network(10)
