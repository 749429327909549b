"""Claims measured again: paired, kept, tuned with a spare seed, judged in one place, recorded with what was run."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from typing import Any, ClassVar

import numpy as np
import pytest

from twofold.catalog import Arm, Claim, Guard, Steps, configure, index, resolve
from twofold.catalog.register import system
from twofold.checkpoints import KNOWN
from twofold.data import NAMES
from twofold.errors import UserError
from twofold.measure.reports import record as reports
from twofold.tasks import Report, StudySystem, Table
from twofold.tasks import task as task_named
from twofold.trials import records, traces
from twofold.trials.outcome import data_of, run, study_rows
from twofold.trials.reproduce import SPARE_SEED, fresh, reproduce

RUNS: list[tuple[float, int]] = []


@pytest.fixture
def coin(tmp_path, monkeypatch):
    """A study whose figure is its option and a little noise of the seed."""
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    RUNS.clear()

    @system("coin", number=9001, title="Coins", tasks=("theory",), source="https://example.org", year=2026)
    class Coin(StudySystem):
        """Throws coins."""

        bias: float = 0.5
        rate: float = 1.0

        def run(self, model: Any, rows: Any, *, seed: int = 0) -> Report:
            RUNS.append((self.bias, seed))
            noise = np.random.default_rng(seed).normal(0, 0.01)
            value = float(self.bias + noise - abs(self.rate - 2.0) / 100)
            return Report({"heads": value, "throws": 10.0}, (Table("t", ("a",), ((1,),)),))

        claim: ClassVar[Claim] = Claim(
            says="a biased coin shows more heads",
            paper="none",
            arms=(Arm("coin", bias=0.4), Arm("coin", bias=0.6)),
            side=(Arm("coin", bias=0.9),),
            data="seeds",
            metric="heads",
            by=0.1,
        )

    return Coin


def test_verdict_effect_and_everything_that_was_run(coin, tmp_path) -> None:
    record = reproduce("coin", dry_run=True)
    assert record["verdict"] == "holds"
    assert record["effect"]["mean"] == pytest.approx(0.2)
    assert [len(arm["figures"]["heads"]) for arm in record["arms"]] == [3, 3]
    assert record["checks"][0]["options"] == {"bias": 0.9}
    assert record["seeds"] == [0, 1, 2]
    assert len(json.dumps(record)) < records.LARGEST
    assert not (tmp_path / "coin.json").exists()
    with pytest.raises(UserError, match="fewer --seeds"):
        records.write({**record, "why": "x" * records.LARGEST}, tmp_path)
    assert not (tmp_path / "coin.json").exists()


def test_the_same_seeds_give_the_same_figures_without_running_again(coin) -> None:
    first = reproduce("coin", dry_run=True)
    count = len(RUNS)
    second = reproduce("coin", dry_run=True)
    assert first["arms"][0]["figures"] == second["arms"][0]["figures"]
    assert len(RUNS) - count == 3  # behaviour traces alone
    third = reproduce("coin", dry_run=True, first_seed=100)
    assert third["seeds"] == [100, 101, 102]
    assert third["arms"][0]["figures"] != first["arms"][0]["figures"]


def test_an_interrupted_claim_goes_on(coin, monkeypatch) -> None:
    real = coin.run

    def stopping(self: Any, model: Any, rows: Any, *, seed: int = 0) -> Report:
        if self.bias == 0.6 and seed == 1:
            raise KeyboardInterrupt
        return real(self, model, rows, seed=seed)

    monkeypatch.setattr(coin, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        reproduce("coin", dry_run=True)
    monkeypatch.setattr(coin, "run", real)
    RUNS.clear()
    reproduce("coin", dry_run=True)
    assert (0.4, 1) not in RUNS
    assert (0.6, 1) in RUNS


def test_every_arm_is_tuned_with_a_seed_that_enters_no_verdict(coin, monkeypatch) -> None:
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, tune={"rate": (1.0, 2.0, 4.0)}))
    record = reproduce("coin", dry_run=True)
    for arm in record["arms"]:
        assert arm["options"]["rate"] == 2.0
        assert set(arm["tuning"]["rate"]) == {"1.0", "2.0", "4.0"}
    assert sum(seed == SPARE_SEED for _, seed in RUNS) == 6
    assert record["checks"][0]["options"] == {"bias": 0.9, "rate": 2.0}


def test_a_condition_that_is_not_met_makes_it_void(coin, monkeypatch) -> None:
    guarded = dataclasses.replace(coin.claim, guards=(Guard("throws", of="method", at_least=100),))
    monkeypatch.setattr(coin, "claim", guarded)
    assert reproduce("coin", dry_run=True)["verdict"] == "void"


def test_records_go_stale_with_behaviour_and_claim_alone(coin, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "commit", lambda: "abc")
    reproduce("coin", folder=tmp_path)
    assert records.read("coin", tmp_path)["commit"] == "abc"
    assert fresh("coin", tmp_path)
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, by=0.15))
    assert not fresh("coin", tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    assert fresh("coin", tmp_path)
    real = coin.run
    other = lambda self, *a, **k: dataclasses.replace(real(self, *a, **k), figures={"heads": 0.0, "throws": 1.0})  # noqa: E731
    monkeypatch.setattr(coin, "run", other)
    assert not fresh("coin", tmp_path)
    assert not fresh("coin", tmp_path / "nowhere")


def test_a_new_try_keeps_the_earlier_one(coin, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "commit", lambda: "abc")
    reproduce("coin", folder=tmp_path)
    changed = (Arm("coin", bias=0.4), Arm("coin", bias=0.41))
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, arms=changed))
    record = reproduce("coin", folder=tmp_path, first_seed=10)
    assert record["verdict"] == "fails"
    assert [t["verdict"] for t in record["tries"]] == ["holds"]


def test_changed_code_is_not_recorded(coin, tmp_path, monkeypatch) -> None:
    root = tmp_path / "checkout"
    (root / "src" / "twofold" / "records").mkdir(parents=True)
    (root / "src" / "twofold" / "code.py").write_text("a = 1\n")
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    monkeypatch.setattr(records, "FOLDER", root / "src" / "twofold" / "records")
    assert len(records.commit() or "") == 40
    (root / "src" / "twofold" / "records" / "x.json").write_text("{}")
    assert records.commit()
    (root / "src" / "twofold" / "code.py").write_text("a = 2\n")
    with pytest.raises(UserError, match="--dry-run"):
        reproduce("coin")


def test_a_baseline_has_no_claim() -> None:
    with pytest.raises(UserError, match="no claim"):
        reproduce("bm25")


def test_traces_agree_to_their_tolerance() -> None:
    assert traces.close([1.0, 2.0], [1.00005, 2.0])
    assert not traces.close([1.0, 2.0], [1.001, 2.0])
    assert not traces.close(None, [1.0])
    assert not traces.close([1.0], [1.0, 2.0])
    assert traces.trace(Arm("bm25")) == traces.trace(Arm("bm25"))


def test_steps_are_a_budget_like_any_other() -> None:
    claim = Claim(says="", paper="", arms=(Arm("a"), Arm("b")), data="d", metric="m", by=0.1, budget=Steps(3))
    assert claim.as_dict()["budget"] == {"steps": 3}
    with pytest.raises(ValueError, match="at least 3 repeats"):
        Claim(says="", paper="", arms=(Arm("a"), Arm("b")), data="d", metric="m", by=0.1, repeats=2)


def test_a_claim_over_several_data_sets_takes_their_mean() -> None:
    claim = Claim(
        says="x",
        paper="y",
        arms=(Arm("most-frequent"), Arm("most-frequent")),
        data="reviews",
        further=("kinds",),
        metric="accuracy",
        by=0.1,
        budget=Steps(1),
        task="classify",
    )
    found = run(Arm("most-frequent"), claim, task_named("classify"), 0)
    assert found.figures["accuracy reviews"] == 0.5
    assert found.figures["accuracy kinds"] == 0.125
    assert found.figures["accuracy"] == (0.5 + 0.125) / 2
    assert data_of(claim, False)["name"] == "reviews + kinds"


def test_a_study_is_given_the_set_that_its_claim_names(coin) -> None:
    claim = dataclasses.replace(coin.claim, data="statements")
    given: list[Any] = []
    coin.run = lambda self, model, rows, seed: given.append(rows) or Report({"heads": 1.0})
    run(claim.arms[0], claim, None, 0)
    assert given[0].name == "statements"
    assert given[0].splits is not None
    assert data_of(claim, True)["fingerprint"] == given[0].fingerprint
    assert data_of(coin.claim, True)["fingerprint"] == "seeded"


def test_the_data_of_every_claim_can_be_named() -> None:
    claims = {card["id"]: configure(card["id"]).claim for card in index.cards() if "claim" in card}
    made = {id: claim for id, claim in claims.items() if claim.data not in (*NAMES, *KNOWN)}
    assert len(made) > 5
    for id, claim in made.items():
        assert data_of(claim, isinstance(configure(id), StudySystem))["fingerprint"], id


@pytest.fixture
def guesses(tmp_path, monkeypatch):
    """A claim about two baselines that learn nothing, so that any data will do."""
    monkeypatch.setenv("TWOFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(records, "commit", lambda: "abc")
    claim = Claim(
        says="x",
        paper="y",
        arms=(Arm("most-frequent"), Arm("tfidf-logistic")),
        data="kinds",
        metric="accuracy",
        by=0.1,
        budget=Steps(1),
        task="classify",
    )
    monkeypatch.setattr(resolve("most-frequent"), "claim", claim)
    file = tmp_path / "own" / "fruit.csv"
    file.parent.mkdir()
    lines = [f"{word} number {i},{word}" for i in range(40) for word in ("apple", "pear")]
    file.write_text("text,label\n" + "\n".join(lines) + "\n")
    return file


def test_other_data_are_checks_of_a_record(guesses, tmp_path) -> None:
    with pytest.raises(UserError, match="no fresh record"):
        reproduce("most-frequent", folder=tmp_path, data=str(guesses))
    assert reproduce("most-frequent", folder=tmp_path)["checks"] == []
    first = records.read("most-frequent", tmp_path)
    record = reproduce("most-frequent", folder=tmp_path, data=str(guesses))
    (check,) = record["checks"]
    assert (check["verdict"], check["figures"]["method"]) == ("holds", [1.0] * 3)
    assert str(tmp_path) not in json.dumps(record)
    assert {**record, "checks": []} == first
    assert "fruit" in reports.markdown(record)
    assert "fruit" in reports.terminal(record)
    again = reproduce("most-frequent", folder=tmp_path)
    assert again["checks"] == [check]  # the claim itself measured again does not lose it
    assert reproduce("most-frequent", folder=tmp_path, data=str(guesses))["checks"] == [check]
    renamed = guesses.with_name("renamed.csv")
    renamed.write_text(guesses.read_text().replace("text,label", "words,kind"))
    with pytest.raises(UserError, match="--columns"):
        reproduce("most-frequent", folder=tmp_path, data=str(renamed))
    columns = {"text": "words", "label": "kind"}
    found = reproduce("most-frequent", folder=tmp_path, data=str(renamed), columns=columns)["checks"]
    assert found == [check, {**check, "data": {**check["data"], "name": "renamed"}}]


def test_what_a_study_is_tuned_on_holds_nothing_of_the_test() -> None:
    claim = resolve("stationary-simplex").claim
    whole, tuned = study_rows(claim), study_rows(claim, "validation")

    def images(rows: Any, part: str) -> set[bytes]:
        return {np.asarray(image).tobytes() for image in rows.part(part).columns["image"]}

    assert images(tuned, "test") == images(whole, "validation")
    assert images(tuned, "train") | images(tuned, "validation") == images(whole, "train")
    assert images(tuned, "validation")
    assert not images(tuned, "train") & images(tuned, "validation")


def test_a_study_takes_other_data_unless_it_makes_its_own(coin, guesses, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "commit", lambda: "abc")
    reproduce("coin", folder=tmp_path)
    with pytest.raises(UserError, match="makes its data"):
        reproduce("coin", folder=tmp_path, data=str(guesses))
    seen: list[Any] = []
    throw = coin.run
    monkeypatch.setattr(coin, "run", lambda self, model, rows, *, seed=0: seen.append(rows) or throw(self, model, rows))
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, data="kinds"))
    reproduce("coin", folder=tmp_path)
    assert {rows.name for rows in seen if rows is not None} == {"kinds"}
    seen.clear()
    (check,) = [c for c in reproduce("coin", folder=tmp_path, data=str(guesses))["checks"] if "data" in c]
    assert check["data"]["name"] == "fruit"
    asked = [rows for rows in seen if rows is not None and rows.name == "fruit"]
    assert asked
    assert set(asked[0].columns["label"]) == {"apple", "pear"}


def test_options_of_both_arms_go_with_other_data(coin, guesses, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "commit", lambda: "abc")
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, data="kinds"))
    reproduce("coin", folder=tmp_path)
    record = reproduce("coin", folder=tmp_path, data=str(guesses), options={"bias": 0.9})
    (check,) = [check for check in record["checks"] if "data" in check]
    assert check["options"] == {"bias": 0.9}
    assert check["figures"]["baseline"] == check["figures"]["method"]
    assert {bias for bias, _ in RUNS[-len(record["seeds"]) :]} == {0.9}
    assert "fruit, bias = 0.9" in reports.markdown(record)
    with pytest.raises(UserError, match="unknown option 'bios'"):
        reproduce("coin", folder=tmp_path, data=str(guesses), options={"bios": 0.9})
    with pytest.raises(UserError, match="--data only"):
        reproduce("coin", folder=tmp_path, options={"bias": 0.9})


def test_the_same_code_on_another_machine_is_no_other_try(coin, guesses, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "commit", lambda: "abc")
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, data="kinds"))
    reproduce("coin", folder=tmp_path)
    record = reproduce("coin", folder=tmp_path, data=str(guesses))
    near = {label: [v * (1 + 1e-6) for v in trace] for label, trace in record["traces"].items()}
    records.write({**record, "traces": near}, tmp_path)
    again = reproduce("coin", folder=tmp_path)
    assert again["tries"] == []
    assert again["checks"] == record["checks"]


def test_what_was_tried_before_stays_in_the_record(coin, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(records, "commit", lambda: "abc")
    reproduce("coin", folder=tmp_path)
    assert reproduce("coin", folder=tmp_path)["tries"] == []
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, says="in other words", minutes=9))
    assert reproduce("coin", folder=tmp_path)["tries"] == []
    monkeypatch.setattr(coin, "claim", dataclasses.replace(coin.claim, data="other seeds"))
    record = reproduce("coin", folder=tmp_path)
    (tried,) = record["tries"]
    assert (tried["verdict"], tried["data"]) == ("holds", "seeds")
    assert "on seeds" in reports.markdown(record)
    assert len(reproduce("coin", folder=tmp_path)["tries"]) == 1
