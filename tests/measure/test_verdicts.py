import math
from typing import Any

import pytest

from twofold.catalog import Arm, Claim, Guard, Saving
from twofold.measure.verdicts import Verdict, decide

T3 = 4.302652729911275  # Student's 97.5 % point at 2 degrees of freedom


def claim(**given: Any) -> Claim:
    base: dict[str, Any] = {
        "says": "",
        "paper": "",
        "arms": (Arm("a"), Arm("b")),
        "data": "pydoc",
        "metric": "mrr@10",
        "by": 0.02,
    }
    return Claim(**{**base, **given})


def judged(claim: Claim, mean: float, half: float, **given: Any) -> Verdict:
    """A verdict over three repeats whose effect is `mean` with an interval of ± `half`."""
    step = half * math.sqrt(3) / T3
    baseline = [0.5, 0.6, 0.7]
    method = [b + d for b, d in zip(baseline, (mean - step, mean, mean + step), strict=True)]
    found = decide(claim, baseline, method, **given)
    assert found.effect.mean == pytest.approx(mean, abs=1e-12)
    assert found.effect.high - found.effect.mean == pytest.approx(half, abs=1e-9)
    return found


@pytest.mark.parametrize(
    ("mean", "half", "name"),
    [
        (0.03, 0.01, "holds"),
        (0.02, 0.01, "holds"),  # just reaches `by`, whatever binary rounding makes of it
        (0.02, 0.0, "holds"),
        (0.03, 0.0299, "holds"),
        (0.03, 0.03, "leans"),  # the interval touches zero
        (0.03, 0.05, "leans"),
        (0.0199, 0.01, "leans"),  # short of `by`, which the interval includes
        (0.01, 0.01, "leans"),  # the upper end touches `by`
        (0.01, 0.0099, "fails"),  # the upper end is below `by`
        (0.0, 0.5, "fails"),
        (0.0, 0.0, "fails"),
        (-0.01, 0.5, "fails"),
        (0.0001, 0.5, "leans"),
    ],
)
def test_better_by(mean: float, half: float, name: str) -> None:
    assert judged(claim(), mean, half).name == name


@pytest.mark.parametrize(
    ("mean", "half", "saving", "name"),
    [
        (0.0, 0.01, 0.5, "holds"),
        (0.0, 0.02, 0.5, "holds"),  # the lower end touches -x
        (0.0, 0.0201, 0.5, "leans"),
        (-0.01, 0.01, 0.5, "holds"),
        (-0.02, 0.0, 0.5, "holds"),
        (-0.02, 0.01, 0.5, "leans"),  # the mean is -x, not below
        (-0.0201, 0.01, 0.5, "fails"),
        (-0.03, 0.0299, 0.5, "fails"),
        (-0.03, 0.03, 0.5, "leans"),  # the upper end touches zero
        (-0.03, 0.05, 0.5, "leans"),
        (0.1, 0.01, 0.5, "holds"),
        (0.1, 0.01, 0.6, "holds"),  # the stated saving, just
        (0.1, 0.01, 0.6001, "fails"),
        (0.1, 0.01, None, "leans"),  # not measured
        (-0.03, 0.01, None, "fails"),
    ],
)
def test_parity(mean: float, half: float, saving: float | None, name: str) -> None:
    for by in (0.02, -0.02):
        asked = claim(parity=True, by=by, saving=Saving("parameters", 0.6))
        assert judged(asked, mean, half, saving=saving).name == name


def test_direction_turns_the_effect() -> None:
    found = decide(claim(direction="lower", by=0.1), [1.0, 1.1, 1.2], [0.7, 0.82, 0.9])
    assert found.name == "holds"
    assert found.effect.mean == pytest.approx(0.2933333)
    assert decide(claim(by=0.1), [1.0, 1.1, 1.2], [0.7, 0.82, 0.9]).name == "fails"


def test_ratio_compares_logarithms() -> None:
    asked = claim(scale="ratio", by=math.log(1.4), direction="lower")
    found = decide(asked, [3.0, 3.1, 2.9], [2.0, 2.0, 2.0])
    assert found.name == "holds"
    assert found.effect.exp().mean == pytest.approx(1.4993, abs=1e-3)
    assert "×1.5" in found.why
    assert "×1.4" in found.why
    assert decide(claim(scale="ratio", by=math.log(1.6), direction="lower"), [3.0, 3.1, 2.9], [2.0] * 3).name != "holds"
    assert decide(claim(scale="ratio", by=math.log(2)), [1, 10, 100], [2, 20, 200]).name == "holds"  # exactly ×2


@pytest.mark.parametrize(
    ("guard", "value", "met"),
    [
        (Guard("accuracy", at_least=0.9), 0.9, True),
        (Guard("accuracy", at_least=0.9), 0.3 * 3, True),  # 0.8999999999999999
        (Guard("accuracy", at_least=0.9), 0.8999, False),
        (Guard("rise", of="method", at_most=0.1), 0.1, True),
        (Guard("rise", of="method", at_most=0.1), 0.1001, False),
        (Guard("rise", at_least=0.0, at_most=0.1), -0.001, False),
        (Guard("rise", at_least=0.0, at_most=0.1), 0.0, True),
        (Guard("rise", at_most=0.1), math.nan, False),
    ],
)
def test_guards_make_it_void(guard: Guard, value: float, met: bool) -> None:
    for mean in (0.05, -0.05):
        found = judged(claim(guards=(guard,)), mean, 0.01, guards=[value])
        assert (found.name != "void") == met
        assert met or f"{guard.figure} of the {guard.of}" in found.why


def test_one_broken_guard_of_two_is_enough() -> None:
    guards = (Guard("accuracy", at_least=0.9), Guard("rise", of="method", at_most=0.1))
    found = judged(claim(guards=guards), 0.05, 0.01, guards=[0.95, 0.2])
    assert found.name == "void"
    assert "accuracy" not in found.why


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        decide(claim(), [0.1, 0.2], [0.2, 0.3])
    with pytest.raises(ValueError, match="baseline has 3, the method 4"):
        decide(claim(), [0.1] * 3, [0.2] * 4)
    with pytest.raises(ValueError, match="finite"):
        decide(claim(), [0.1] * 3, [0.2, math.nan, 0.2])
    with pytest.raises(ValueError, match="1 guards, got 0"):
        decide(claim(guards=(Guard("accuracy", at_least=0.9),)), [0.1] * 3, [0.2] * 3)
    asked = claim(parity=True, saving=Saving("seconds", 0.5))
    with pytest.raises(ValueError, match="finite"):
        decide(asked, [0.1] * 3, [0.2] * 3, saving=math.nan)


def test_as_data() -> None:
    found = judged(claim(), 0.03, 0.01).as_dict()
    assert found["name"] == "holds"
    assert found["effect"]["n"] == 3
    assert found["why"] == "mean effect +0.03 [+0.02, +0.04] reaches +0.02, and the interval excludes zero"
