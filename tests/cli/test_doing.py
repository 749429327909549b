"""`fit`, `apply`, `study`, with systems of a person's own."""

from __future__ import annotations

import json

import pytest

from .conftest import COLUMNS

pytestmark = pytest.mark.usefixtures("cards")


def test_fit_writes_a_model_that_searches(run, lexical, here) -> None:
    assert (here / lexical / "model.json").exists()
    assert not (here / "lexical.training").exists()
    assert run("search", lexical, "garden number 2", "-k", "1").out.split()[2:6] == ["The", "garden", "number", "2"]


def test_the_same_fit_is_not_repeated_and_another_is_refused(run, lexical, pairs) -> None:
    again = run("fit", "bm25", pairs, COLUMNS, "-o", lexical)
    assert again.code == 0
    assert again.error == "note: lexical was made by the same run before; --fresh makes it again\n"
    other = run("fit", "bm25", pairs, COLUMNS, "-o", lexical, "--set", "b=0.5")
    assert other.code == 2
    assert "lexical holds a model that differs from this one in options (b); give another folder with -o" in other.error
    fresh = run("fit", "bm25", pairs, COLUMNS, "-o", lexical, "--set", "b=0.5", "--fresh", "--json")
    assert fresh.json["history"][0]["options"]["b"] == 0.5


def test_an_interrupted_fit_goes_on(run, own, pairs, here) -> None:
    words = ("fit", f"{own}:Pocket", pairs, COLUMNS, "-o", "model", "--set", "interrupted=true", "--steps", "5")
    first = run(*words)
    assert first.code == 130
    assert "kept beside model" in first.error
    assert not (here / "model").exists()
    other = run(*words, "--seed", "1")
    assert other.code == 2
    assert "model.training holds an unfinished run that differs from this one in seed" in other.error
    second = run(*words, "--json")
    assert second.code == 0
    report = second.json["history"][0]["report"]
    assert report["went_on"] is True
    assert report["run"]["budget"] == {"steps": 5}
    assert not (here / "model.training").exists()


def test_fresh_throws_an_unfinished_run_away(run, own, pairs) -> None:
    words = ("fit", f"{own}:Pocket", pairs, COLUMNS, "-o", "model", "--set", "interrupted=true")
    assert run(*words).code == 130
    assert run(*words, "--fresh").code == 130
    assert run(*words).code == 0


def test_a_folder_with_something_else_is_left_alone(run, pairs, here) -> None:
    (here / "letters").mkdir()
    (here / "letters" / "dear.txt").write_text("keep me")
    ran = run("fit", "bm25", pairs, COLUMNS, "-o", "letters", "--fresh")
    assert ran.code == 2
    assert "letters holds something that is not a model" in ran.error
    assert (here / "letters" / "dear.txt").read_text() == "keep me"
    assert "pairs.jsonl is a file; give the name of a folder" in run("fit", "bm25", pairs, "-o", pairs, COLUMNS).error


def test_a_place_that_cannot_be(run, pairs) -> None:
    ran = run("fit", "bm25", pairs, COLUMNS, "-o", f"{pairs}/model")
    assert ran.code == 2
    assert "is a file where a folder is needed" in ran.error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("bm26", "pairs.jsonl"), "unknown system 'bm26'. Did you mean 'bm25'?"),
        (("bm25", "nothing.jsonl"), "there is no file or folder nothing.jsonl"),
        (("bm25", "pairs.jsonl"), "no column"),
        (("bm25", "pairs.jsonl", COLUMNS, "--set", "c=1"), "unknown option of bm25 'c'"),
        (("bm25", "pairs.jsonl", COLUMNS, "--set", "b=2"), "bm25: option 'b' is 2: input should be less than or equal"),
        (("bm25", "pairs.jsonl", COLUMNS, "--set", "task=solve"), "write --task solve instead of --set task=…"),
        (("bm25", "pairs.jsonl", COLUMNS, "--set", "fresh=true"), "write --fresh instead of --set fresh=…"),
        (("bm25", "pairs.jsonl", COLUMNS, "--set", "system=x"), "unknown option of bm25 'system'"),
        (("bm25", "pairs.jsonl", COLUMNS, "--task", "solve"), "unknown task of bm25 'solve'"),
        (("bm25", "pairs.jsonl", COLUMNS, "--minutes", "0"), "0 minutes are no time to train in"),
        (("bm25", "pairs.jsonl", COLUMNS, "--device", "warp:9"), "cannot compute on device 'warp:9'"),
        (("bm25", "pairs.jsonl", COLUMNS, "--dtype", "float23"), "unknown dtype 'float23'. Did you mean 'float32'?"),
        (("stat", "pairs.jsonl"), "stat is a transform, not a model; use it with: twofold apply stat"),
        (("gtr", "pairs.jsonl", "--steps", "2", "--minutes", "1"), "give one of them"),
        (("ssd-2x32", "pairs.jsonl"), "train it with: twofold fit backbone my.txt --set backbone=ssd-2x32"),
        (("hydra-2x32", "pairs.jsonl"), "train it with: twofold fit masked-backbone my.txt"),
        (("attention-2x33", "pairs.jsonl"), "use attention-2x34"),
        (("./nothing.py:Mine", "pairs.jsonl"), "own systems are named as ./file.py:ClassName"),
    ],
)
def test_mistakes_of_a_fit(run, pairs, here, words, says) -> None:
    ran = run("fit", *words, "-o", "model")
    assert ran.code == 2
    assert says in ran.error
    assert ran.error.count("\n") == 1
    assert not (here / "model").exists()


def test_a_list_may_be_typed_with_commas(run, own, pairs) -> None:
    words = ("fit", f"{own}:Pocket", pairs, COLUMNS, "--json", "-o")
    assert run(*words, "a", "--set", "words=x,y").json["history"][0]["options"]["words"] == ["x", "y"]
    assert run(*words, "b", "--set", "words=x").json["history"][0]["options"]["words"] == ["x"]
    assert run(*words, "c", "--set", "words=[x, 'y,z']").json["history"][0]["options"]["words"] == ["x", "y,z"]


def test_an_option_may_be_called_like_an_argument_of_the_command(run, own, pairs) -> None:
    words = ("fit", f"{own}:Pocket", pairs, COLUMNS, "--json", "--set", "minutes=3", "--minutes", "0.5")
    ran = run(*words)
    assert ran.code == 0, ran.error
    made = ran.json["history"][0]
    assert (made["options"]["minutes"], made["report"]["run"]["budget"]) == (3.0, {"seconds": 30.0})


def test_apply_chains_and_leaves_the_given_model(run, own, lexical, pairs, here) -> None:
    before = (here / lexical / "model.json").read_bytes()
    chain = f"{own}:Mark,{own}:Trace"
    words = ("apply", chain, lexical, pairs, COLUMNS, "-o", "small", "--set", "trace.size=5", "--set", "mark.size=3")
    ran = run(*words)
    assert ran.code == 0, ran.error
    assert "small: a model for search, made by trace" in ran.out
    assert "second" in ran.out
    assert (here / lexical / "model.json").read_bytes() == before
    history = json.loads((here / "small" / "model.json").read_text())["history"]
    assert [(h["id"], h["options"].get("size")) for h in history] == [("bm25", None), ("mark", 3), ("trace", 5)]
    assert history[1]["report"]["rows"] < 40, "a part is kept for validation and test"
    assert "holds a model already" in run(*words).error
    assert run(*words, "--fresh").code == 0


def test_apply_and_study_tell_their_own_arguments_from_options(run, own, lexical, pairs) -> None:
    ran = run("apply", f"{own}:Mark", lexical, pairs, "--set", "seed=3")
    assert (ran.code, "mark has no option 'seed'" in ran.error, "--seed 3" in ran.error) == (2, True, True)
    ran = run("study", f"{own}:Ponder", "--set", "device=cpu")
    assert (ran.code, "write --device cpu instead" in ran.error) == (2, True)


def test_apply_asks_which_step(run, own, lexical, pairs) -> None:
    ran = run("apply", f"{own}:Mark,{own}:Trace", lexical, pairs, "--set", "size=5")
    assert ran.code == 2
    assert "option 'size' names no step of mark,trace. Write it as mark.size" in ran.error
    assert (
        "Did you mean 'trace'? "
        in run("apply", f"{own}:Mark,{own}:Trace", lexical, pairs, "--set", "tracee.size=5").error
    )
    assert run("apply", f"{own}:Mark", lexical, pairs, COLUMNS, "-o", "s", "--set", "size=5").code == 0
    assert "bm25 is a model, not a transform" in run("apply", "bm25", lexical).error


def test_every_step_is_checked_before_the_first_begins(run, own, lexical, pairs, here) -> None:
    ran = run("apply", f"{own}:Mark,{own}:Trace", lexical, pairs, COLUMNS, "-o", "small", "--set", "trace.size=-1")
    assert ran.code == 2
    assert "trace: option 'size' is -1" in ran.error
    assert not (here / "small").exists()


def test_a_transform_needs_what_the_model_lacks(run, lexical, pairs) -> None:
    ran = run("apply", "stat", lexical, pairs, COLUMNS, "-o", "small")
    assert ran.code == 2
    assert "has no network" in ran.error


def test_study_prints_and_writes_a_report(run, own, here) -> None:
    ran = run("study", f"{own}:Ponder", "--set", "schemes=one,two", "-o", "report")
    assert ran.code == 0, ran.error
    assert "It was counted." in ran.out
    assert "two" in ran.out
    assert json.loads((here / "report" / "report.json").read_text())["figures"]["schemes"] == 2.0
    page = (here / "report" / "report.html").read_text()
    assert "Counts" in page
    assert "<svg" in page
    assert run("study", f"{own}:Ponder", "--json").json["figures"] == {"schemes": 1.0, "letters": 0.0}


def test_study_of_a_text_and_of_a_model(run, own, lexical) -> None:
    ran = run("study", f"{own}:Ponder", lexical, "four", "--json")
    assert ran.json["figures"]["letters"] == 4.0
    assert "option 'schemes" in run("study", f"{own}:Ponder", "--set", "schemes=four").error
