"""Finding a system by what a person needs."""

from __future__ import annotations

import math

import pytest

from twofold.catalog import find


@pytest.fixture
def shelf(shelve):
    shelve(
        {
            "id": "shrinker",
            "family": "compression",
            "summary": "Cuts neurons",
            "needs": ["shrink a BERT without labels"],
        },
        {"id": "seeker", "family": "retrieval", "summary": "Finds texts", "needs": ["search by meaning", "find texts"]},
        {"id": "packer", "family": "compression", "summary": "Packs weights", "needs": ["make a file smaller"]},
    )


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("need", "best"),
    [
        ("shrink a BERT without labels", "shrinker"),
        ("I want to shrink my networks", "shrinker"),
        ("shrinking berts", "shrinker"),
        ("searching BY Meaning", "seeker"),
        ("packer", "packer"),
        ("small files", "packer"),
    ],
)
def test_the_best_match_comes_first(need, best) -> None:
    assert find(need)[0]["id"] == best


@pytest.mark.usefixtures("shelf")
def test_only_what_matches_and_no_more_than_asked() -> None:
    assert find("zebra") == []
    assert find("the of and") == []
    assert [c["id"] for c in find("compression")] == ["packer", "shrinker"]
    assert len(find("compression", limit=1)) == 1
    scores = [c["score"] for c in find("shrink a file, search")]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)


def test_the_score_is_bm25(shelve) -> None:
    shelve(
        {"id": "one", "family": "f", "tasks": [], "summary": "lamp lamp river"},
        {"id": "two", "family": "f", "tasks": [], "summary": "river"},
    )
    # Documents are id, summary and family: lengths 5 and 3, mean 4; "lamp" occurs twice in one of two.
    rarity = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    expected = rarity * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 5 / 4))
    assert find("lamp")[0]["score"] == pytest.approx(expected, abs=1e-3)


def test_an_empty_register(shelve) -> None:
    assert find("lamp") == []
