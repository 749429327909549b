"""Made scenes: everything that is said of a picture is true of it."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.data import read
from twofold.data.made import scenes as made
from twofold.errors import UserError

ROWS = made.scenes(train=300, validation=10, test=200, side=24)


def test_same_seed_same_pictures() -> None:
    again = made.scenes(train=300, validation=10, test=200, side=24)
    assert all((a == b).all() for a, b in zip(ROWS.columns["image"], again.columns["image"], strict=True))
    other = made.scenes(train=300, validation=10, test=200, side=24, seed=1)
    assert other.fingerprint != ROWS.fingerprint
    assert not (ROWS.columns["image"][0] == other.columns["image"][0]).all()
    assert ROWS.splits.count("train") == 300


def test_what_is_said_is_true() -> None:
    columns = ROWS.columns
    for i in range(len(ROWS)):
        shapes, depth, instance = (columns[n][i] for n in ("segmentation", "depth", "instances"))
        assert ((shapes > 0) == (instance > 0)).all()
        assert depth.min() >= 1
        assert depth.max() <= made.WALL + 1e-5
        for number, box, said in zip(columns["order"][i], columns["boxes"][i], columns["objects"][i], strict=True):
            here = instance == number
            x0, y0, x1, y1 = box
            rows, cols = np.nonzero(here)
            assert (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)
            assert set(shapes[here]) == {made.CLASSES.index(said.split()[-1])}
            assert len(set(depth[here])) == 1
            assert said in columns["text"][i]
        assert set(np.unique(instance)) - {0} == set(columns["order"][i])
        edges = np.zeros_like(instance, bool)
        edges[:, :-1] |= instance[:, 1:] != instance[:, :-1]
        edges[:-1] |= instance[1:] != instance[:-1]
        assert (edges == columns["edges"][i]).all()


def test_near_objects_hide_far_ones_and_fade_less() -> None:
    fresh, faded = [], []
    for i in range(len(ROWS)):
        image, depth, instance = (ROWS.columns[n][i] for n in ("image", "depth", "instances"))
        depths = [float(depth[instance == k][0]) for k in sorted(set(np.unique(instance)) - {0})]
        assert depths == sorted(depths, reverse=True)
        for k in set(np.unique(instance)) - {0}:
            here = instance == k
            spread = float(np.ptp(image[here].mean(0)))
            (fresh if depth[here][0] < 2 else faded).append(spread)
    assert np.mean(fresh) > np.mean(faded)


def test_combinations_can_be_kept_for_the_test() -> None:
    rows = made.scenes(train=400, validation=10, test=400, side=16, unseen=("red circle", "blue cross"))
    said = {part: " ".join(rows.part(part).columns["text"]) for part in ("train", "test")}
    for pair in ("red circle", "blue cross"):
        assert pair not in said["train"]
        assert pair in said["test"]
    assert "red cross" in said["train"]
    with pytest.raises(UserError, match="no 'pink circle'"):
        made.scenes(unseen=("pink circle",))
    with pytest.raises(UserError, match="unseen in every colour"):
        made.scenes(unseen=[f"{colour} circle" for colour in made.COLOURS])
    with pytest.raises(UserError, match="at least 8"):
        made.scenes(side=4)


def test_it_goes_by_name() -> None:
    rows = read("scenes")
    assert len(rows) == 2500
    assert rows.columns["image"][0].shape == (24, 24, 3)
