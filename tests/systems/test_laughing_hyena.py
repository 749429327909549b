"""Laughing Hyena: a model of long convolutions becomes one of recurrences. The fit: tests/surgery/test_modal.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twofold.catalog import Steps, configure
from twofold.data import Rows
from twofold.errors import UserError
from twofold.parts import Hyena, Mask, ModalFilter, build
from twofold.surgery.modal import Modes
from twofold.systems.mixers.laughing_hyena import filled, long_convolutions
from twofold.tasks import load, task
from twofold.tasks.examples import small_rows

NONE = Rows("none", {"text": ["a"]}, "0", "none")


@pytest.fixture(scope="module")
def convolutional() -> Any:
    layers = [{"mixer": {"kind": "hyena", "heads": 4, "length": 32}, "times": 1}]
    made: Any = configure("backbone", backbone=layers, dim=16, layers=1, batch=4, length=32)
    return made.fit(task("language").read(small_rows()), Steps(3)).model


@pytest.fixture(scope="module")
def distilled(convolutional: Any) -> Any:
    return replace(configure("laughing-hyena").small(), order=12).apply(convolutional, NONE)


def test_a_filter_holds_the_waves_that_were_found() -> None:
    modes = Modes(np.array([0.9 * np.exp(0.4j), 0.7 + 0j]), np.array([0.3 - 0.2j, 0.5 + 0j]), 1.5)
    made = filled([modes, Modes(modes.poles[:1], modes.residues[:1], -1.0)], 4)
    torch.testing.assert_close(made.kernel(40)[0].detach().double().numpy(), modes.kernel(40), rtol=1e-4, atol=1e-5)
    assert made.kernel(3)[1, 0] == -1.0


def test_the_changed_model_is_the_recurrence_of_what_was_fitted(convolutional: Any, distilled: Any) -> None:
    ((_, mixer),) = long_convolutions(convolutional.net)
    assert isinstance(mixer, Hyena)
    assert not list(long_convolutions(distilled.net))
    before = mixer.filter.kernel(32).detach().double().numpy()
    found = next(m for m in distilled.net.modules() if isinstance(m, ModalFilter))
    gap = np.linalg.norm(found.kernel(32).detach().numpy() - before) / np.linalg.norm(before)
    (error,) = distilled.history[-1]["report"]["errors"].values()
    assert error < 0.2
    assert gap < 0.3


def test_step_by_step_is_the_convolution(distilled: Any) -> None:
    ids, net = torch.randint(0, 256, (2, 20)), distilled.net.eval()
    with torch.inference_mode():
        whole = net(ids, Mask.causal())
        cache = net.new_cache(2, 20)
        steps = torch.cat([net(ids[:, t : t + 1], Mask.causal(), cache) for t in range(20)], 1)
    torch.testing.assert_close(steps, whole, rtol=1e-4, atol=1e-4)


def test_memory_is_constant_and_less(convolutional: Any, distilled: Any) -> None:
    held = {
        time: [model.net.new_cache(1, time).bytes_at(time) for model in (convolutional, distilled)]
        for time in (64, 512)
    }
    assert held[64][1] == held[512][1] < held[512][0]
    assert held[512][0] > 4 * held[64][0]
    assert distilled.costs()["cache_bytes"] == held[64][1]


def test_the_order_is_found(convolutional: Any) -> None:
    system: Any = replace(configure("laughing-hyena").small(), order="auto", tolerance=0.3)
    (order,) = system.apply(convolutional, NONE).history[-1]["report"]["orders"].values()
    finer: Any = replace(system, tolerance=0.01)
    (more,) = finer.apply(convolutional, NONE).history[-1]["report"]["orders"].values()
    assert 2 <= order < more <= 14
    assert order % 2 == more % 2 == 0


def test_it_trains_and_distils_and_is_saved(tmp_path: Path) -> None:
    model = configure("laughing-hyena").small().fit(task("language").read(small_rows()), Steps(2)).model  # type: ignore[attr-defined]
    again = load(model.save(tmp_path / "m"))
    assert again.generate("def ", 6) == model.generate("def ", 6)
    assert isinstance(build(model.net.spec()), type(model.net))


def test_what_cannot_be_is_refused(convolutional: Any, distilled: Any) -> None:
    small: Any = configure("laughing-hyena").small()
    with pytest.raises(UserError, match="mixer hyena"):
        small.apply(distilled, NONE)
    with pytest.raises(UserError, match="order=14 or less"):
        replace(small, order=40, method="gradient").apply(convolutional, NONE)
    with pytest.raises(UserError, match="use order=6"):
        replace(small, order=5, method="gradient").apply(convolutional, NONE)
