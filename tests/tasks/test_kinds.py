"""Objects that a saved model's settings describe."""

from __future__ import annotations

import json

import pytest

from twofold.tasks import classify, segment
from twofold.tasks.segment import targets


@pytest.mark.parametrize(
    "target",
    [
        classify.OneLabel(("a", "b"), (1.0, 2.0)),
        classify.ManyLabels(("a", "b")),
        classify.Number(1.0, 2.0),
        targets.Classes(("sky", "sea"), (3, 300)),
        targets.Numbers(1.0, 2.0),
        targets.Marks(3.0),
    ],
)
def test_a_target_comes_back_from_its_settings(target) -> None:
    family = segment.Target if isinstance(target, segment.Target) else classify.Target
    assert family.of(json.loads(json.dumps(target.spec()))) == target
