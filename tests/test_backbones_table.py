"""The table of all backbones: on a toy budget it runs, goes on where it was, and says what its file says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from benchmarks import backbones
from markdown.extensions.toc import slugify

from twofold.errors import UserError
from twofold.parts import Mixer
from twofold.parts.named import names
from twofold.tasks.backbone_names import layered

ROOT = Path(__file__).resolve().parent.parent
TOY = backbones.Plan(2, "mqar(time=16, pairs=2, symbols=8)", texts=1, dim=32, heads=2, length=32, batch=2, rounds=1)
TWO = {name: backbones.BACKBONES[name] for name in ("attention", "ssd, then attention")}


def test_names_are_many_and_each_is_a_network() -> None:
    assert len(backbones.BACKBONES) >= 15
    plan = replace(TOY, dim=64, length=64)
    shapes = {str(backbones.network(given, plan).spec()) for given, _ in backbones.BACKBONES.values()}
    assert len(shapes) == len(backbones.BACKBONES)


ALSO = {  # names of what stands in the table under another one, or as a layer of a pattern
    "local-attention", "retention", "silu-conv", "shared-attention", "convolved", "masformer", "abbie",
}  # fmt: skip


def test_every_mixer_and_system_that_predicts_the_next_token_is_in_it() -> None:
    told = json.dumps([given for given, _ in backbones.BACKBONES.values()])
    missing = [
        name
        for name in layered()
        if f'"{name}"' not in told and name not in ALSO and getattr(names(Mixer).get(name), "causal", "yes") != "no"
    ]
    assert missing == []


def test_a_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, count = tmp_path / "docs" / "data" / "backbones.json", []
    whole = backbones.trained

    def interrupted(*given):
        count.append(given)
        if len(count) == 17:  # of a row: twice three rates, then two figures; a seed more: two figures
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(backbones, "trained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        backbones.run(file, TOY, 2, TWO)
    assert {name: len(row["recall"]) for name, row in json.loads(file.read_text())["rows"].items()} == dict.fromkeys(
        TWO, 1
    )
    found = backbones.run(file, TOY, 2, TWO)
    assert len(count) == 17 + 4
    assert backbones.run(file, TOY, 2, TWO) == json.loads(file.read_text()) == json.loads(json.dumps(found))
    assert len(count) == 21
    assert not list(file.parent.glob("*.part"))
    row = found["rows"]["ssd, then attention"]
    assert len(row["bits_per_byte"]) == len(row["recall"]) == 2
    assert row["cache_bytes"]["8192"] < found["rows"]["attention"]["cache_bytes"]["8192"]
    assert row["speed"]["training"]["ratio"] > 0
    assert set(row["rates"]) == {"bits_per_byte", "recall"}
    assert backbones.read(file, replace(TOY, steps=3))["rows"] == {}

    again = backbones.timed_again(file, TOY)
    assert {name: row["recall"] for name, row in again["rows"].items()} == {
        name: row["recall"] for name, row in found["rows"].items()
    }
    assert again == json.loads(file.read_text())

    backbones.publish(found, tmp_path / "docs")
    text = (tmp_path / "docs" / "backbones.md").read_text()
    assert f"{sum(row['bits_per_byte']) / 2:.3f} ± " in text
    assert "[attention](results/mixers.md#nope-" in text
    assert (tmp_path / "docs" / "images" / "backbones.svg").read_text().startswith("<svg")


def test_yardsticks_are_measured_alone_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "backbones.json"
    found = backbones.compare_yardsticks(file, TOY)
    bits = {name: row["bits_per_byte"] for name, row in found["yardsticks"].items()}
    assert list(bits) == ["n-gram", "n-gram of 128 bytes", "xz"]
    assert bits["n-gram"] < bits["n-gram of 128 bytes"] < 8
    assert found["rows"] == {}
    monkeypatch.setattr(backbones, "configure", None)
    assert backbones.compare_yardsticks(file, TOY) == json.loads(file.read_text())
    text = backbones.page(
        {**found, "rows": json.loads((ROOT / "docs" / "data" / "backbones.json").read_text())["rows"]}
    )
    assert f"| xz | {bits['xz']:.3f} | – |" in text


def test_same_seed_same_figures() -> None:
    given = backbones.BACKBONES["attention"][0]
    once, again = (
        [backbones.trained(given, TOY, figure, 1e-3, 2, 0) for figure in backbones.FIGURES] for _ in range(2)
    )
    assert once == pytest.approx(again)


def test_the_page_is_that_of_the_figures() -> None:
    found = json.loads((ROOT / "docs" / "data" / "backbones.json").read_text())
    assert (ROOT / "docs" / "backbones.md").read_text() == backbones.page(found)
    assert len(found["rows"]) >= 2
    assert set(found["yardsticks"]) == set(backbones.yardsticks(backbones.Plan(**found["plan"])))
    headings = {
        f"results/mixers.md#{slugify(line[3:], '-')}"
        for line in (ROOT / "docs" / "results" / "mixers.md").read_text().splitlines()
        if line.startswith("## ")
    }
    assert set(backbones.pages_of_systems().values()) <= headings


def test_damaged_figures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        backbones.read(tmp_path / "x.json", TOY)


def test_what_the_page_says_to_type_is_what_was_measured() -> None:
    for name, (given, _) in backbones.BACKBONES.items():
        if given != name:
            assert yaml.safe_load(backbones._typed(given)) == given
        else:
            assert name in layered()
