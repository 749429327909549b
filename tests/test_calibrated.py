"""How far plain attention gets on each task: it goes on where it was, counts rightly, and the documentation says it."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import calibrate

from twofold.data import Rows
from twofold.data.made import algorithms
from twofold.objectives import IGNORED

ROOT = Path(__file__).resolve().parent.parent
MASK = 4


def test_ladders_end_at_the_first_rung_that_is_not_solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"where(time=16)": 1.0, "where(time=32)": 0.96, "where": 0.94, "lm(length=32)": 0.2, "lm(length=64)": 0.3}
    asked: list[str] = []

    def measured(setting: str) -> dict[str, object]:
        asked.append(setting)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"figure": "accuracy", "value": 0.0, "share": shares[setting]}

    whole = calibrate.rungs
    monkeypatch.setattr(calibrate, "rungs", lambda name: {s: partial(measured, s) for s in whole(name)})
    monkeypatch.setattr(calibrate, "LENGTHS", {"lm": (32, 64)})
    file = tmp_path / "calibrated.json"
    with pytest.raises(KeyboardInterrupt):
        calibrate.run(file, ["where", "lm"])
    found = calibrate.run(file, ["where", "lm"])
    assert asked == ["where(time=16)", "where(time=32)", "where", "where", "lm(length=32)", "lm(length=64)"]
    assert json.loads(file.read_text()) == found == calibrate.run(file, ["where", "lm"])
    assert len(asked) == 6
    assert calibrate.hardest("where", found["tasks"]["where"]) == "`time=32`"
    assert calibrate.hardest("where", {"where(time=16)": {"share": 0.5}}) == "none: 50% at `time=16`"
    assert calibrate.hardest("where", {}) == "not measured"


def test_figures_from_elsewhere_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, rung = tmp_path / "calibrated.json", {"figure": "accuracy", "value": 0.0, "share": 0.0}
    monkeypatch.setattr(calibrate, "rungs", lambda name: {name: lambda: dict(rung)})
    calibrate.run(file, ["where"])
    monkeypatch.setattr(calibrate.costs, "environment", lambda: {"cpu": "another"})
    found = calibrate.run(file, ["where", "chase"])
    assert found["environment"]["cpu"] != "another"
    assert found["tasks"] == {"where": {"where": rung}, "chase": {"chase": {**rung, "cpu": "another"}}}


def test_counts_of_neighbours() -> None:
    # After 0 comes 1 three times of four, else 2; after 1 and 2 comes 3; after 3 comes 0.
    seen = torch.tensor([[0, 1, 3, 0, 1, 3, 0, 1, 3, 0, 2, 3]] * 100)
    hidden = torch.tensor([[0, MASK, 3], [MASK, MASK, 3], [MASK, MASK, MASK]])
    labels = torch.tensor([[IGNORED, 1, IGNORED], [IGNORED, 2, IGNORED], [IGNORED, 3, IGNORED]])
    floor, yardstick = calibrate.by_counting(seen, hidden, labels, 5, MASK)
    shares = {1: 0.25, 2: 1 / 12, 3: 1 / 3}
    assert floor == pytest.approx(-sum(map(math.log, shares.values())) / 3, rel=0.01)
    # Between 0 and 3; before 3, where 1 stands three times as often as 2; and among hidden tokens.
    assert yardstick == pytest.approx(-(math.log(0.75) + math.log(0.25) + math.log(shares[3])) / 3, rel=0.02)


def test_one_rung_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"the {n} {what} of the file is read and then closed again" for n in range(20) for what in ("row", "line")]
    monkeypatch.setattr(calibrate, "TEXTS", Rows.of({"text": texts}))
    monkeypatch.setattr(calibrate, "STEPS", 1)
    monkeypatch.setattr(calibrate, "SIZES", {"dim": 16, "layers": 1, "heads": 2, "batch": 4})
    for name in ("lm", "mlm"):
        rung = next(iter(calibrate.rungs(name).values()))()
        assert rung["floor"] > rung["yardstick"] > 0
        assert rung["share"] < 0.5  # it has learned nothing yet
    rung = calibrate.rungs("lengen")["algorithms:parity"]()
    assert 0 <= rung["value"] == rung["share"] < 0.8
    assert 0 <= rung["beyond"] < 0.8
    assert calibrate.rungs("chase")["chase"]()["share"] < 0.5


def test_shares_of_the_way() -> None:
    assert calibrate.between("nats", 3.0, 5.0, 1.0)["share"] == 0.5
    assert calibrate.between("nats", 5.0, 5.0, 1.0)["share"] == 0
    assert calibrate.between("nats", 0.0, 5.0, 1.0)["share"] == 1.25


def test_the_documentation_says_what_was_measured() -> None:
    found = json.loads((ROOT / "docs" / "data" / "calibrated.json").read_text())
    lines = (ROOT / "docs" / "data-formats.md").read_text().splitlines()
    assert set(found["tasks"]) == set(calibrate.TASKS)
    for name in calibrate.LADDERS:
        (row,) = (line for line in lines if line.startswith(f"| `{name}` | "))
        assert row.endswith(f" | {calibrate.hardest(name, found['tasks'][name])} |")
    others = [row for row in calibrate.rows(found) if row.startswith("|")]
    assert len(others) == sum(map(len, calibrate.LENGTHS.values())) + len(algorithms.NAMES)
    assert set(others) <= set(lines)
