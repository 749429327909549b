"""Splits: the same everywhere, whole groups, no empty part."""

from __future__ import annotations

import random

import pytest

from twofold.data import PARTS, Rows, split
from twofold.data.splits import groups, part_name, place
from twofold.errors import UserError


def rows_of(**columns: list) -> Rows:
    return Rows.of(columns, name="mine", source="mine.csv")


def test_places_are_those_of_every_machine() -> None:
    assert place("json.decoder") == 0.3414872287495233
    assert place("asyncio.events") == 0.8214015331714385
    assert place("é") == place("e\u0301") == 0.291402190516421


def test_splits_are_those_of_every_machine() -> None:
    rows = rows_of(text=[f"text {index}" for index in range(40)])
    found = {part: [i for i, name in enumerate(split(rows).splits or []) if name == part] for part in PARTS}
    assert found["validation"] == [25, 37]
    assert found["test"] == [22, 35, 36, 38]


def test_order_and_addition_change_nothing() -> None:
    names = [f"g{index % 50}" for index in range(400)]
    rows = rows_of(text=[str(index) for index in range(400)], group=names)
    where = dict(zip(rows.columns["text"], split(rows).splits or [], strict=True))
    order = list(range(400))
    random.Random(0).shuffle(order)
    moved = rows.take(order)
    assert where == dict(zip(moved.columns["text"], split(moved).splits or [], strict=True))
    more = rows_of(text=[str(i) for i in range(500)], group=names + [f"h{i}" for i in range(100)])
    assert [where[text] for text in rows.columns["text"]] == (split(more).splits or [])[:400]


def test_groups_stay_whole_and_shares_are_about_right() -> None:
    names = [f"g{index // 3}" for index in range(6_000)]
    rows = split(rows_of(text=[str(index) for index in range(6_000)], group=names))
    assert rows.splits is not None
    parts: dict[str, set[str]] = {}
    for name, part in zip(names, rows.splits, strict=True):
        parts.setdefault(name, set()).add(part)
    assert all(len(found) == 1 for found in parts.values())
    assert [round(rows.splits.count(part) / 6_000, 1) for part in PARTS] == [0.8, 0.1, 0.1]


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_no_part_is_empty_with_three_groups(count: int) -> None:
    for trial in range(40):
        rows = split(rows_of(text=[f"{trial} {index}" for index in range(count)]))
        assert set(rows.splits or ()) == set(PARTS)


def test_too_few_groups_for_the_parts() -> None:
    rows = rows_of(text=["a", "b", "c"], group=["x", "x", "y"])
    with pytest.raises(UserError, match="'group' column holds 2 different groups, too few for 3 parts"):
        split(rows)
    assert sorted(set(split(rows, (0.5, 0.0, 0.5)).splits or ())) == ["test", "train"]


def test_groups_fall_back_on_the_normalised_example() -> None:
    rows = rows_of(query=["p", "q", "r"], document=["A  b", "a B ", "c"], group=["", None, 7])
    assert groups(rows) == ["a b", "a b", "7"]
    assert groups(rows_of(a=["X", "y"], b=[1, 2], split=["train", "test"])) == ["x 1", "y 2"]


def test_own_splits_are_kept_and_completed() -> None:
    own = split(rows_of(text=list("abcd"), split=["train", "dev", "Test", "training"]))
    assert own.splits == ["train", "validation", "test", "train"]
    texts = [str(index) for index in range(200)]
    two = split(rows_of(text=texts, split=["train"] * 150 + ["test"] * 50))
    assert two.splits is not None
    assert set(two.splits[:150]) == {"train", "validation"}
    assert 5 <= two.splits.count("validation") <= 30
    assert set(two.splits[150:]) == {"test"}
    with pytest.raises(UserError, match="no train rows"):
        split(rows_of(text=["a"], split=["test"]))
    with pytest.raises(UserError, match=r"'split' says 'foo' in row 2"):
        split(rows_of(text=["a", "b"], split=["train", "foo"]))


@pytest.mark.parametrize("parts", [(0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5)])
def test_parts_must_add_up(parts: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="add up to 1"):
        split(rows_of(text=list("abcdef")), parts)  # type: ignore[arg-type]


def test_part_names() -> None:
    assert [part_name(name) for name in ("Train", " val ", "DEV", "testing", "unsupervised", None)] == [
        "train", "validation", "validation", "test", None, None,
    ]  # fmt: skip


def test_a_single_text_is_told_how_to_become_several() -> None:
    with pytest.raises(UserError, match=r"there is 1 different row, too few for 3 parts.*cut into 3 files"):
        split(Rows.of({"text": ["one long book"]}))
