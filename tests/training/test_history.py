"""The learning curve: short, and true."""

import json
from dataclasses import asdict

import pytest

from twofold.training.history import Curve, History


def row(step):
    return {"step": step, "seconds": step / 10, "tokens": step * 7, "lr": 1 / step, "loss": float(step * step)}


@pytest.mark.parametrize("steps", [5, 255, 256, 1000, 5000])
def test_every_point_is_the_mean_since_the_point_before(steps):
    curve = Curve()
    for step in range(1, steps + 1):
        curve.add(row(step))
    points = curve.drawn()
    assert len(points) <= 256
    assert points[-1]["step"] == steps
    before = 0
    for point in points:
        covered = range(before + 1, point["step"] + 1)
        assert point["loss"] == pytest.approx(sum(s * s for s in covered) / len(covered))
        assert point["tokens"] == point["step"] * 7
        assert point["lr"] == 1 / point["step"]
        before = point["step"]


def test_it_goes_on_from_json_as_if_it_had_not_stopped():
    whole, part = Curve(), Curve()
    for step in range(1, 701):
        whole.add(row(step))
        part.add(row(step))
        if step in (3, 301):
            part = Curve(**json.loads(json.dumps(asdict(part))))
    assert part.drawn() == whole.drawn()


def test_figures_that_come_and_go_are_averaged_over_the_steps_that_have_them():
    curve = Curve(every=4)
    for step in range(1, 5):
        curve.add(row(step) | ({"rare": float(step)} if step > 2 else {}))
    assert curve.drawn()[0]["rare"] == 3.5


def test_history_is_plain_data():
    history = History(3, 1.5, 0, 1.0, [row(1)], [{"fraction": 1.0, "mrr": 0.5}])
    assert History(**json.loads(json.dumps(history.as_dict()))) == history
