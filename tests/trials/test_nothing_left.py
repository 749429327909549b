"""A run that is refused leaves nothing on disk that would stand in the way of the corrected one."""

from __future__ import annotations

import pytest

from twofold.api import fit
from twofold.catalog import Steps
from twofold.errors import UserError

REFUSED = [
    ("hydra", {"dim": 33}),
    ("hydra", {"kernel": 4}),
    ("hydra", {"kernel": 65, "hidden": 64}),
    ("encoder", {"dim": 30}),
    ("bert", {"dim": 30}),
    ("mambabyte", {"kernel": 600}),
    ("laughing-hyena", {"order": 3}),
    ("laughing-hyena", {"short": 300}),
    ("mblm", {"dim": 30}),
    ("deepspeed-moe", {"experts": 200}),
    ("moe-lm", {"experts": 50_000}),
    ("yoco", {"window": 300}),
    ("backbone", {"backbone": "hydra"}),
]


@pytest.fixture
def texts(tmp_path):
    place = tmp_path / "texts"
    place.mkdir()
    for number in range(12):
        (place / f"{number}.txt").write_text(f"text {number}: " + "what there is to read in it. " * 40)
    return place


@pytest.mark.parametrize(("id", "options"), REFUSED)
def test_nothing_is_left_of_what_was_refused(id, options, texts, tmp_path) -> None:
    named = "pyramid" if "experts" in options and id == "deepspeed-moe" else next(iter(options))
    with pytest.raises(UserError, match=named if named != "backbone" else "looks ahead"):
        fit(id, texts, budget=Steps(1), out=tmp_path / "out" / "m", **options)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_only_training_finds_out_leaves_nothing_either(texts, tmp_path, monkeypatch) -> None:
    from twofold.tasks.system import TrainedSystem

    def refused(*_, **__):
        raise UserError("the data are not what they seemed")

    monkeypatch.setattr(TrainedSystem, "fit", refused)
    for fresh in (False, True):
        if fresh:
            (tmp_path / "out" / "m.training").mkdir()
        with pytest.raises(UserError, match="seemed"):
            fit("decoder", texts, budget=Steps(1), out=tmp_path / "out" / "m", fresh=fresh)
        assert not list((tmp_path / "out").iterdir())
