"""`recommend`, for users and for histories."""

from __future__ import annotations

import json

import pytest

from twofold.catalog import Steps, configure
from twofold.tasks import task
from twofold.tasks.examples import small_histories


@pytest.fixture
def model(here) -> str:
    job = task("recommend")
    data = job.read(small_histories())
    job.ready(configure("item-knn").fit(data, Steps(1)).model, data).save(here / "model")
    return "model"


def test_recommend(run, model, here) -> None:
    one = run("recommend", model, "u3", "-k", "4", "--json").json
    assert one["history"] == "u3"
    assert len(one["items"]) == 4
    assert len(run("recommend", model, "u3", "-k", "4").out.splitlines()) == 4
    items = run("recommend", model, "i1,i2", "-k", "30", "--json").json["items"]
    assert not {"i1", "i2"} & {each["item"] for each in items}
    again = run("recommend", model, "i1,i2", "-k", "30", "--again", "--json").json["items"]
    assert {each["item"] for each in again} - {each["item"] for each in items} == {"i1", "i2"}
    assert run("recommend", model, "i1", "-k", "2", "--json").json["history"] == "i1"
    assert run("recommend", model, "u1", "u1", "-o", "twice.jsonl").code == 0
    assert len((here / "twice.jsonl").read_text().splitlines()) == 2
    assert run("recommend", model, "u1", "u2", "-o", "f.jsonl").code == 0
    assert [len(json.loads(line)["items"]) for line in (here / "f.jsonl").read_text().splitlines()] == [10, 10]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("u99",), "knows no user 'u99'"),
        (("nothing,else",), "none of the items nothing, else is known"),
        (("u1", "-k", "0"), "-k is 0"),
        (("u1", "-o", "x.xls"), "cannot write x.xls"),
    ],
)
def test_mistakes(run, model, words, says) -> None:
    ran = run("recommend", model, *words)
    assert ran.code == 2
    assert says in ran.error
