"""The main job, with small arms: its table, its folder, going on after an interruption, and racing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from twofold import api
from twofold.catalog import Arm, configure, resolve
from twofold.catalog.register import baseline
from twofold.cli import main
from twofold.data import Rows
from twofold.errors import UserError
from twofold.tasks import Fitted, ModelSystem, load
from twofold.tasks import task as task_named
from twofold.tasks.examples import small_rows
from twofold.tasks.inputs import keeping, kept_here
from twofold.training import History
from twofold.trials import findings, pilot, plan
from twofold.trials.arms import Place, Typed, choose, parse, split_arms
from twofold.trials.compare import compare

SMALL = "gtr(backbone=t5-1x32, query_tokens=8, document_tokens=16, batch=8, lr=0.003)"


@pytest.fixture
def file(tmp_path):
    rows = small_rows()
    lines = [
        json.dumps({"query": q, "document": d, "group": g})
        for q, d, g in zip(rows.columns["query"], rows.columns["document"], rows.columns["group"], strict=True)
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def quick(monkeypatch):
    """A plan that does not depend on how busy the machine is; its seconds are those of a test."""
    monkeypatch.setattr(plan, "ENDING", 0.5)
    monkeypatch.setattr(plan, "SHORTEST", 0.5)
    cheap = plan.Cost(prepare_fixed=0.05, prepare=0.1, evaluate=0.1)
    monkeypatch.setattr(pilot, "pilot", lambda task, arms, data, *_: {arm.label: cheap for arm, _ in arms})


def test_table_folder_and_best_model(file, tmp_path, quick) -> None:
    found = compare("search", file, systems=["bm25", SMALL], minutes=0.1, out=tmp_path / "out")
    rows = {row["id"]: row for row in found["rows"]}
    assert set(rows) == {"bm25", "gtr"}
    for row in rows.values():
        assert row["status"] == "measured"
        assert 0 <= row["quality"]["low"] <= row["quality"]["mean"] <= row["quality"]["high"] <= 1
        assert row["latency_ms"]["median"] <= row["latency_ms"]["p95"]
        assert row["megabytes"] > 0
    assert rows["bm25"]["parameters"] == 0
    assert rows["gtr"]["curve"]
    assert sum(row["recommended"] for row in rows.values()) == 1
    assert any(row["pareto"] for row in rows.values())
    assert "recommended" in found["recommendation"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in page
    assert "gtr" in page
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == json.loads(json.dumps(found))
    best = load(tmp_path / "out" / "best")
    assert best.indexed > 100
    assert best.search("paint the red lamp", 3)


def test_the_same_call_goes_on_and_another_is_refused(file, tmp_path, quick, monkeypatch) -> None:
    first = compare("search", file, systems=["bm25"], minutes=0.1, out=tmp_path / "out")
    from twofold.systems.baselines.bm25 import Bm25

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("what was measured is not measured again")

    monkeypatch.setattr(Bm25, "fit", fail)
    again = compare("search", file, systems=["bm25"], minutes=0.1, out=tmp_path / "out")
    assert again["rows"] == first["rows"]
    with pytest.raises(UserError, match=r"other minutes; .*--fresh"):
        compare("search", file, systems=["bm25"], minutes=0.2, out=tmp_path / "out")


def test_a_folder_with_something_else_is_left_alone(file, tmp_path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(UserError, match="something else"):
        compare("search", file, systems=["bm25"], out=tmp_path / "letters", fresh=True)
    assert (tmp_path / "letters" / "dear.txt").exists()


def test_interrupted_in_training_it_goes_on(file, tmp_path, quick, monkeypatch) -> None:
    import twofold.tasks.system as module

    real = module.train
    calls = []

    def interrupted(*args: Any, **options: Any) -> History:
        calls.append(options.get("folder"))
        if options.get("folder") is not None and len([c for c in calls if c is not None]) == 1:
            real(*args, **{**options, "until": 0.5})
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(module, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compare("search", file, systems=["bm25", SMALL], minutes=0.1, out=tmp_path / "out")
    figures = json.loads(next((tmp_path / "out" / "arms").glob("bm25/figures.json")).read_text())
    assert figures["validation"] is not None
    kept = (tmp_path / "out" / "plan.json").read_text()
    budget = json.loads(kept)["train_seconds"]
    found = compare("search", file, systems=["bm25", SMALL], minutes=0.1, out=tmp_path / "out")
    curve = next(row for row in found["rows"] if row["id"] == "gtr")["curve"]
    assert curve[0]["step"] <= 2
    assert curve[-1]["seconds"] == pytest.approx(budget, rel=0.2)
    assert (tmp_path / "out" / "plan.json").read_text() == kept


@pytest.fixture
def runners():
    """Four arms that claim to train and differ in nothing but how they end."""

    @baseline("runner", title="A Runner", tasks=("search",))
    class Runner(ModelSystem):
        """Sleeps, and searches with BM25."""

        trains = True
        skill: float = 0.0

        def fit(self, data: Any, budget: Any, *, seed: int = 0, folder: Any = None, until: Any = None) -> Fitted:
            from twofold.tasks.search import LexicalModel

            time.sleep(0.01)
            model = LexicalModel(None, None, {"k1": self.skill, "b": 0.0}).remember("bm25", {})
            return Fitted(model, History(steps=1, seconds=0.01, tokens=0, fraction=1.0, curve=[], validation=[]))

    return [f"runner(skill={s})" for s in (0.0, 0.5, 1.0, 2.0)]


def test_more_arms_than_the_minutes_allow_are_raced(file, tmp_path, quick, runners) -> None:
    found = compare("search", file, systems=runners, minutes=0.1, out=tmp_path / "out")
    states = sorted(row["status"] for row in found["rows"])
    assert states == ["dropped at 25% of the budget"] * 2 + ["dropped at 50% of the budget", "measured"]
    dropped = [r for r in found["rows"] if r["status"].startswith("dropped at 25")]
    kept = [r for r in found["rows"] if not r["status"].startswith("dropped at 25")]
    assert max(r["rungs"][0]["validation"] for r in dropped) <= min(r["rungs"][0]["validation"] for r in kept)
    assert any("raced" in note for note in found["notes"])


def test_a_choice_that_rests_on_little_says_so(file, tmp_path, quick) -> None:
    found = compare("search", file, systems=["bm25"], minutes=0.1, out=tmp_path / "out")
    count = found["data"]["counts"]["validation"]["queries"]
    assert any("too few" in note for note in found["notes"]) == (0 < count < findings.FEW)
    assert any("rests on 2 " in note for note in findings.about({"share": 1.0, "raced": False}, "float32", 2))
    assert not any("rests on" in note for note in findings.about({"share": 1.0, "raced": False}, "float32", 20))
    assert any("one test item" in note for note in findings.about({"share": 1.0, "raced": False}, "float32", tested=1))


def test_a_run_that_took_longer_says_so(file) -> None:
    whole = {"share": 1.0, "raced": False}
    assert any("took 2.5 minutes in place of 1:" in n for n in findings.about(whole, "float32", 20, minutes=(1.0, 2.5)))
    assert not any("in place of" in n for n in findings.about(whole, "float32", 20, minutes=(1.0, 1.05)))


def test_arms_whose_turn_does_not_come_are_told_apart(file) -> None:
    task, late = task_named("search"), []
    arms = choose("search", ["bm25", "bm25(k1=2.0)", "bm25(k1=1.0)"])
    costs = pilot.pilot(task, arms, task.read(file), seconds=0.0, late=lambda arm: late.append(arm.label))
    assert list(costs) == ["bm25"]
    assert late == [arm.label for arm, _ in arms[1:]]
    assert len(pilot.pilot(task, arms, task.read(file), seconds=0.0)) == 3  # all were named


def test_what_was_not_looked_at_takes_no_part(file, tmp_path, quick, monkeypatch) -> None:
    def only_first(task, arms, data, seconds, failed, late):
        for arm, _ in arms[1:]:
            late(arm)
        return {arms[0][0].label: plan.Cost(0.0, 0.0, 0.1)}

    monkeypatch.setattr(pilot, "pilot", only_first)
    chosen = choose("search", ["bm25", SMALL])
    monkeypatch.setattr("twofold.trials.compare.choose", lambda task, systems: chosen)
    found = compare("search", file, systems=["all"], minutes=0.1, out=tmp_path / "all")
    assert [row["status"][:40] for row in found["rows"]] == ["measured", "left out: the minutes did not suffice to"]
    assert found["rows"][1]["quality"] is None


def test_the_pilot_measures_what_grows_with_the_data(file) -> None:
    task = task_named("search")
    costs = pilot.pilot(task, choose("search", ["bm25", SMALL]), task.read(file))
    assert len(costs) == 2
    assert all(c.prepare_fixed > 0 and c.prepare >= 0 and c.evaluate >= 0 for c in costs.values())


@pytest.fixture
def keeper():
    """An arm whose preparation is kept: two seconds of it, as it says, that no one has to wait for."""
    seen: list[int] = []

    @baseline("keeper", title="A Keeper", tasks=("search",))
    class Keeper(ModelSystem):
        """Searches with BM25."""

        trains = True

        def fit(self, data: Any, budget: Any, *, seed: int = 0, folder: Any = None, until: Any = None) -> Fitted:
            from twofold.tasks.search import LexicalModel

            model = LexicalModel(None, None, {"k1": 1.2, "b": 0.0}).remember("bm25", {})
            return Fitted(model, History(steps=1, seconds=0.01, tokens=0, fraction=1.0, curve=[], validation=[]))

        def rehearse(self, data: Any) -> Any:
            seen.append(len(data.pool("train")))
            time.sleep(2e-4 * seen[-1])
            states = kept_here()
            if states is not None:
                states.spent += 2.0
            return self.fit(data, None).model

    return seen


def test_what_is_kept_is_prepared_ahead_and_counted_as_it_was(file, tmp_path, quick, keeper, monkeypatch) -> None:
    given = {}
    asked = plan.reserve

    def reserve(costs: Any, *rest: Any) -> float:
        given["judged"], given["prepared"] = rest[3:5]
        return asked(costs, *rest)

    monkeypatch.setattr(plan, "reserve", reserve)
    cost = plan.Cost(0.0, prepare=1.0, evaluate=0.1, validate=0.05, kept=1.0)
    monkeypatch.setattr(pilot, "pilot", lambda task, arms, data, *_: {arm.label: cost for arm, _ in arms})
    compare("search", file, systems=["bm25", "keeper"], minutes=0.1, out=tmp_path / "out")
    assert len(keeper) == 1
    assert given["prepared"] == {"keeper": plan.Done(planned=1.0, taken=2.0)}
    assert given["judged"]["bm25"].planned == 0.05
    assert given["judged"]["bm25"].taken > 0
    compare("search", file, systems=["bm25", "keeper"], minutes=0.1, out=tmp_path / "out")
    assert len(keeper) == 1  # the plan was made


def test_an_arm_that_fails_in_the_pilot_does_not_end_the_others(file, tmp_path, keeper, monkeypatch) -> None:
    monkeypatch.setattr(plan, "ENDING", 0.5)

    def refuse(self: Any, data: Any) -> Any:
        raise UserError("a window needs 64")

    monkeypatch.setattr(resolve("keeper"), "rehearse", refuse)
    for _ in range(2):  # what failed stays so where a run goes on
        found = compare("search", file, systems=["bm25", "keeper"], minutes=0.1, out=tmp_path / "out")
        by_id = {row["id"]: row for row in found["rows"]}
        assert by_id["keeper"]["status"] == "failed: a window needs 64"
        assert by_id["bm25"]["status"] == "measured"
    with pytest.raises(UserError, match="a window needs 64"):
        compare("search", file, systems=["keeper"], minutes=0.1, out=tmp_path / "alone")


def test_the_pilot_tells_what_is_kept(file, keeper) -> None:
    task = task_named("search")
    data = task.read(file)
    with keeping():
        (cost,) = pilot.pilot(task, choose("search", ["keeper"]), data).values()
    assert 0 < cost.kept <= cost.prepare
    (cost,) = pilot.pilot(task, choose("search", ["keeper"]), data).values()
    assert cost.kept == 0  # nothing is kept outside a comparison


def test_a_pilot_without_time_for_second_runs_takes_the_first_to_grow(file) -> None:
    task = task_named("search")
    (cost,) = pilot.pilot(task, choose("search", [SMALL]), task.read(file), seconds=0.0).values()
    assert cost.prepare_fixed == 0
    assert cost.prepare > 0
    assert cost.evaluate > 0


def test_sequences_made_as_training_goes_are_prepared_once() -> None:
    task = task_named("solve")
    data = task.read("count3(time=4, prefix=2)")
    (cost,) = pilot.pilot(task, choose("solve", ["backbone(dim=16,heads=2,layers=1)"]), data).values()
    assert cost.prepare_fixed > 0
    assert cost.prepare == 0
    assert cost.evaluate > 0


def test_small_data_are_not_cut_by_noise() -> None:
    task = task_named("search")
    texts = {"query": [f"query {i}" for i in range(80)], "document": [f"text {i} of some words" for i in range(80)]}
    data = task.read(Rows.of(texts))
    costs = pilot.pilot(task, choose("search", ["bm25", SMALL]), data)
    made = plan.decide(costs, trained=1, minutes=2, spent=0)
    assert made.share == 1.0
    assert made.minimum < 2


def test_an_arm_that_would_cost_all_others_their_data_is_left_out() -> None:
    costs = {f"quick {i}": plan.Cost(1.0, 10.0, 20.0) for i in range(4)}
    slow = {"slow": plan.Cost(5.0, 0.0, 30_000.0)}
    assert plan.too_slow(costs | slow, ["quick 0", "slow"], minutes=8, spent=0) == ["slow"]
    assert plan.too_slow(costs | slow, ["quick 0", "slow"], minutes=3_000, spent=0) == []  # there is time for it
    assert plan.too_slow(costs, ["quick 0"], minutes=0.5, spent=0) == []  # all alike


def test_what_is_left_out_is_told_and_not_run(file, tmp_path, quick, monkeypatch) -> None:
    cost = {"bm25": plan.Cost(0.0, 0.0, 0.1), "gtr": plan.Cost(0.0, 0.0, 9_000.0)}
    monkeypatch.setattr(pilot, "pilot", lambda task, arms, data, *_: {arm.label: cost[arm.id] for arm, _ in arms})
    arms = choose("search", ["bm25", "bm25(k1=2.0)", SMALL])
    monkeypatch.setattr("twofold.trials.compare.choose", lambda task, systems: arms)
    found = compare("search", file, systems=["all"], minutes=0.1, out=tmp_path / "out")
    slow = next(row for row in found["rows"] if row["id"] == "gtr")
    assert slow["status"] == "left out: it needs about 150 minutes here for the whole data"
    assert slow["quality"] is None
    assert not any("cut" in note for note in found["notes"])
    assert "left out" in (tmp_path / "out" / "report.html").read_text()
    assert compare("search", file, systems=["all"], minutes=0.1, out=tmp_path / "out")["rows"] == found["rows"]


ARMS = {
    "loaded": plan.Cost(1.0, 0.0, evaluate=30.0, validate=10.0, ready=20.0),
    "trained": plan.Cost(2.0, prepare=40.0, evaluate=15.0, validate=5.0, ready=10.0, kept=30.0),
}


def reserved(**given: Any) -> float:
    """What is left free for two arms, one of which trains, without its margin and its end."""
    usual = {"share": 1.0, "raced": False, "judged": {}, "prepared": {}, "encoded": {}}
    return (plan.reserve(ARMS, ["trained"], **{**usual, **given}) - plan.ENDING) / (1 + plan.MARGIN)


def test_what_is_kept_free_for_all_that_is_not_training() -> None:
    assert reserved() == pytest.approx(20 + 2 + 40 + 15 + 20)  # a test, an arm from start to end, the dearer index
    assert reserved(share=0.5) == pytest.approx(10 + 2 + 20 + 7.5 + 10)
    assert reserved(encoded={"loaded": 15.0}) == pytest.approx(5 + 2 + 40 + 15 + 20)
    assert reserved(encoded={"loaded": 99.0}) == pytest.approx(0 + 2 + 40 + 15 + 20)


def test_work_that_is_done_says_how_long_the_rest_will_take() -> None:
    quick = {"loaded": plan.Done(planned=10.0, taken=5.0)}
    assert reserved(judged=quick) == pytest.approx(10 + 2 + 20 + 7.5 + 10)
    done = {"trained": plan.Done(planned=30.0, taken=60.0)}
    assert reserved(prepared=done) == pytest.approx(40 + 2 + 20 + 30 + 40)  # all twice as slow, 30 of 40 behind it
    both = reserved(judged=quick, prepared=done)
    assert both == pytest.approx(10 + 2 + 65 / 40 * (10 + 15) + 65 / 40 * 10)  # its own pace; and that of both
    assert reserved(judged={"loaded": plan.Done(0.1, 0.4)}) == reserved()  # too little to tell


def test_a_race_keeps_free_what_going_on_takes() -> None:
    again = 2 + 10 + 5  # prepared anew but for what is kept, and judged
    assert ARMS["trained"].again(1.0) == again
    assert reserved(raced=True) - reserved() == pytest.approx(2 * again)  # one arm, at the second and the third rung


def test_too_few_minutes_cut_the_pool_and_say_so() -> None:
    costs = {"slow": plan.Cost(prepare_fixed=1.0, prepare=100.0, evaluate=100.0)}
    whole = plan.decide(costs, trained=1, minutes=10, spent=0)
    cut = plan.decide(costs, trained=1, minutes=2, spent=0)
    assert whole.share == 1.0
    assert 0.05 < cut.share < 0.5
    assert cut.minimum == pytest.approx(whole.minimum)
    assert costs["slow"].at(cut.share) < 2 * 60


def test_race_budget_spends_what_there_is() -> None:
    each = plan.race_budget(100.0, 8)
    assert 8 * each * 0.25 + 4 * each * 0.25 + 2 * each * 0.5 == pytest.approx(100.0)


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": [{"mixer": "ssd", "times": 2}, {"mixer": {"kind": "attention", "heads": 4}, "channel": "none"}]},
        {"template": "Query: {query}, Document: {document}"},
        {"a": None, "b": True, "c": "true", "d": "null", "e": 1e-5, "f": "1e-5", "g": "", "h": "2020-01-01", "i": -1},
        {"linear": {"ffn": "lowrank(0.25)", "a b": ["x, y", "]"]}, "empty": [{}], "deep": [[1, 2], ["1"]]},
        {"a": "b (c", "d": "it's", "e": 'say "hi", you', "f": "two\nlines", "g": "''", "h": "\\", "i": " ü ☃"},
    ],
)
def test_a_label_is_typed_again_as_the_same_arm(options: dict, tmp_path) -> None:
    arm = Typed("gtr", **options)
    assert parse(arm.label) == arm
    assert split_arms(f"bm25,{arm.label},gtr(x='a,)')") == ["bm25", arm.label, "gtr(x='a,)')"]
    Place(tmp_path, arm)


def test_labels_of_plain_options_are_short() -> None:
    assert parse("gtr(temperature=0.1, backbone=t5-1x64)").label == "gtr (temperature=0.1, backbone=t5-1x64)"
    assert parse("backbone(backbone=[{mixer: ssd}])").label == "backbone (backbone=[{mixer: ssd}])"
    assert parse("gtr(document_prefix=it's, linear=f(1,2))").options == {"document_prefix": "it's", "linear": "f(1,2)"}


def test_every_arm_has_a_folder_of_its_own(tmp_path) -> None:
    long = [{"mixer": "ssd", "times": n} for n in range(1, 30)]
    arms = [parse(f"a({option})") for option in ("x=1", "x=-1", "x='1'", "x=[1]")]
    arms += [Typed("a", x=long), Typed("a", x=long[:-1]), Typed("a")]
    assert len({Place(tmp_path, arm).folder for arm in arms}) == len(arms)


@pytest.mark.parametrize(
    ("text", "says"),
    [("gtr(backbone=[{a)", r"cannot read backbone=\[\{a of gtr as YAML"), ("gtr(lr=1, lr=2)", "option lr twice")],
)
def test_arms_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(text)


def test_arms_as_written() -> None:
    arm = parse("gtr(temperature=0.1, bottleneck=null)")
    assert arm.id == "gtr"
    assert arm.options == {"temperature": 0.1, "bottleneck": None}
    assert split_arms("bm25,gtr(a=1,b=2),x") == ["bm25", "gtr(a=1,b=2)", "x"]
    with pytest.raises(UserError, match="write gtr"):
        parse("gtr(fast)")
    with pytest.raises(UserError, match=r"\./file\.py:ClassName"):
        parse("./missing.py:Mine")


def test_a_system_for_another_task_is_refused(file, tmp_path) -> None:
    with pytest.raises(UserError, match="does not serve 'search'"):
        compare("search", file, systems=["xz"], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ("hydra", "a model for represent; as a backbone it is written --systems .gtr.backbone=hydra-4x128.."),
        ("ssd-2x64", "ssd-2x64 is no system by itself; as a backbone it is written --systems .gtr.backbone=ssd-2x64.."),
        ("sdd", "unknown system 'sdd'"),
    ],
)
def test_a_backbone_that_is_no_arm_is_refused_with_the_arm_it_can_be(arm, says) -> None:
    with pytest.raises(UserError, match=says):
        choose("search", [arm])


def test_an_arm_that_waits_for_a_model_takes_part_where_it_is_named(file, tmp_path, quick, monkeypatch) -> None:
    from twofold.systems.baselines.bm25 import Bm25
    from twofold.trials import compare as module

    class Waits(Bm25):
        def waits_for(self, seed: int) -> str:
            return "its model is yet to be trained here, once, for minutes"

    arms = [*choose("search", ["bm25"]), (Arm("bm25", b=0.5), Waits(b=0.5))]
    monkeypatch.setattr(module, "choose", lambda task, systems: arms)
    found = compare("search", file, minutes=0.1, out=tmp_path / "out")
    assert [row["label"] for row in found["rows"]] == ["bm25"]
    assert any(note.startswith("bm25 (b=0.5) takes no part: its model is yet to be") for note in found["notes"])
    assert any(note.endswith("name it in --systems for that") for note in found["notes"])
    named = compare("search", file, systems=["bm25", "bm25(b=0.5)"], minutes=0.1, out=tmp_path / "other")
    assert [row["label"] for row in named["rows"]] == ["bm25", "bm25 (b=0.5)"]


def test_costly_arms_take_part_where_they_are_named() -> None:
    assert not {"monot5", "rankt5", "cross-encoder", "tilde"} & {arm.id for arm, _ in choose("search", None)}
    assert [arm.id for arm, _ in choose("search", ["rankt5"])] == ["rankt5"]
    assert {"monot5", "gtr", "tilde"} <= {arm.id for arm, _ in choose("search", ["all"])}


@pytest.fixture
def texts(tmp_path):
    """Long documents of few words and short ones of many letters, so that they cost very different bits a byte."""
    path, lines = tmp_path / "texts.jsonl", []
    for i in range(40):
        long, short = "ab " * 400 + str(i), "".join(chr(97 + (i * 31 + j * j * 7) % 26) for j in range(60))
        part = ("train", "train", "validation", "test")[i // 2 % 4]
        lines.append(json.dumps({"text": long if i % 2 else short, "split": part}))
    path.write_text("\n".join(lines))
    return path


def test_bits_per_byte_are_all_bits_over_all_bytes(texts, tmp_path) -> None:
    found = compare("language", texts, systems=["xz", "n-gram"], minutes=0.2, out=tmp_path / "out")
    for row in found["rows"]:
        assert row["quality"]["mean"] == pytest.approx(row["figures"]["bits_per_byte"])
        assert row["quality"]["low"] <= row["quality"]["mean"] <= row["quality"]["high"]
    xz, gram = found["rows"]
    data = task_named("language").read(texts)
    judged = task_named("language").evaluate(load(tmp_path / "out" / "best"), data)
    assert abs(judged.items.mean() - judged.figures["bits_per_byte"]) > 0.1  # so that the two can be told apart
    best = max(xz, gram, key=lambda row: row["recommended"])
    assert best["quality"]["mean"] == pytest.approx(judged.figures["bits_per_byte"])
    gain = best["quality"]["mean"] - min(xz, gram, key=lambda row: row["recommended"])["quality"]["mean"]
    assert f"on test {gain:+.3f} [" in found["recommendation"]
    assert "all bits over all bytes" in " ".join(found["notes"])


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ("backbone(backbone=sdd-1x32)", "unknown backbone 'sdd-1x32'. Did you mean 'ssd-1x32'?"),
        ("backbone(backbone=hydra-1x64)", "looks ahead"),
        ("backbone(backbone=ssd-0x0)", "such as ssd-2x128"),
        ("backbone(backbone=attention-1x33)", "use attention-1x40"),
        ("sdd-1x32", 'Did you mean the backbone --systems "backbone(backbone=ssd-1x32)"?'),
        ("attention-1x33", "as a backbone it is refused: Attention"),
        ("hydra-1x64", "it looks ahead"),
    ],
)
def test_an_arm_that_cannot_be_is_refused_before_anything_is_trained(arm, says, texts, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert main(["compare", "language", str(texts), "--systems", f"xz,{arm}", "-o", str(out)]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("task", "arm"),
    [
        ("search", "gtr(backbone=hydrra-2x64)"),
        ("search", "monot5(backbone=hydrra-2x64)"),
        ("classify", "modernbert(start_from=hydrra-2x64)"),
        ("represent", "masked-backbone(backbone=hydrra-2x64)"),
        ("classify", "linear-head(backbone=hydrra-2x64)"),
    ],
)
def test_a_misspelt_backbone_is_refused_in_every_task(task, arm) -> None:
    with pytest.raises(UserError, match=r"unknown backbone 'hydrra-2x64'. Did you mean 'hydra-2x64'"):
        choose(task, [arm])
    assert choose(task, [arm.replace("hydrra", "hydra")])


def test_every_model_can_be_checked_as_it_is_by_default() -> None:
    for card in api.list(kind="model"):
        configure(card["id"]).check()
