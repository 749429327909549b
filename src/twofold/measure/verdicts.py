"""A claim's verdict from its repeats. The only place where verdicts are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from twofold.catalog import Claim, Guard
from twofold.measure.statistics import Interval, differences, t_interval

Name = Literal["holds", "leans", "fails", "void"]

# Figures are decimal, their differences binary: 0.32 - 0.30 falls short of 0.02 by 1e-17.
# Bounds are therefore met to this share of themselves.
_SLACK = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What came out of a claim.

    Args:
        name: "holds", "leans", "fails" or "void".
        effect: method against baseline over the repeats, turned so that positive is better for the method; on
            the scale "ratio" a difference of logarithms.
        why: one sentence.
    """

    name: Name
    effect: Interval
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "effect": self.effect.as_dict(), "why": self.why}


def decide(
    claim: Claim,
    baseline: Sequence[float],
    method: Sequence[float],
    saving: float | None = None,
    guards: Sequence[float] = (),
) -> Verdict:
    """The verdict of `claim`.

    *Better by*: holds when the mean effect reaches `claim.by` and the 95 % interval excludes zero; fails when the
    mean is not positive or the interval's upper end is below `claim.by`; leans otherwise. *Parity*, with a loss of
    at most x = |`claim.by`|: holds when the interval's lower end is at least -x and the saving was measured and is
    there; fails when the upper end is below zero and the mean below -x, or when the measured saving is not there;
    leans otherwise. A guard that is not met makes either void. The interval is Student's over the paired repeats.

    Args:
        claim: what is checked; on the scale "ratio" its `by` is a difference of logarithms (`log(1.4)` for ×1.4).
        baseline: the metric of every repeat of the baseline, in the metric's own units.
        method: the metric of the same repeats of the method.
        saving: the method's figure divided by the baseline's (`claim.saving.figure`); None: not measured.
        guards: the measured mean of every guard's figure, in the order of `claim.guards`.

    Raises:
        ValueError: fewer than 3 repeats, figures that cannot be paired or are not finite, guards that do not match.
    """
    if len(baseline) < 3:
        raise ValueError(f"a verdict needs at least 3 paired repeats, got {len(baseline)}")
    if len(guards) != len(claim.guards):
        raise ValueError(f"the claim has {len(claim.guards)} guards, got {len(guards)} figures")
    sign = 1 if claim.direction == "higher" else -1
    effect = t_interval(sign * differences(baseline, method, claim.scale))
    broken = [_broken(g, v) for g, v in zip(claim.guards, guards, strict=True) if not _met(g, v)]
    if broken:
        return Verdict("void", effect, "the condition is not met: " + "; ".join(broken))
    name, why = _parity(claim, effect, saving) if claim.parity else _better(claim, effect)
    return Verdict(name, effect, why)


def _better(claim: Claim, effect: Interval) -> tuple[Name, str]:
    slack = _SLACK * abs(claim.by)
    measured, needed = f"mean effect {_signed(effect, claim)}", _amount(claim.by, claim)
    reached = effect.mean >= claim.by - slack
    if reached and effect.low > slack:
        return "holds", f"{measured} reaches {needed}, and the interval excludes {_nothing(claim)}"
    if effect.mean <= slack:
        return "fails", f"{measured} is no gain"
    if effect.high < claim.by - slack:
        return "fails", f"{measured}: the interval ends below {needed}"
    if reached:
        return "leans", f"{measured} reaches {needed}, but the interval includes {_nothing(claim)}"
    return "leans", f"{measured} is a gain, but short of {needed}"


def _parity(claim: Claim, effect: Interval, saving: float | None) -> tuple[Name, str]:
    if claim.saving is None:
        raise ValueError("a parity claim states what it saves")
    figure, stated = claim.saving.figure, claim.saving.ratio
    if saving is not None and not math.isfinite(saving):
        raise ValueError(f"the saving of {figure} is {saving}; it must be finite")
    if saving is not None and saving > stated * (1 + _SLACK):
        return "fails", f"the saving is not there: {figure} ×{saving:.3g}, stated ×{stated:.3g}"
    allowed = abs(claim.by)
    slack = _SLACK * allowed
    measured, bound = f"mean effect {_signed(effect, claim)}", _amount(-allowed, claim)
    if effect.high < -slack and effect.mean < -allowed - slack:
        return "fails", f"{measured} loses more than {bound} allows, and the interval ends below {_nothing(claim)}"
    if effect.low < -allowed - slack:
        return "leans", f"{measured}: the interval begins below {bound}"
    if saving is None:
        return "leans", f"{measured} stays above {bound}, but the saving ({figure} ×{stated:.3g}) was not measured"
    return "holds", f"{measured} stays above {bound} with {figure} ×{saving:.3g}, stated ×{stated:.3g}"


def _met(guard: Guard, value: float) -> bool:
    """Whether the figure lies within the guard's bounds; a figure that is not a number does not."""
    if math.isnan(value):
        return False
    above = guard.at_least is None or value >= guard.at_least - _SLACK * abs(guard.at_least)
    below = guard.at_most is None or value <= guard.at_most + _SLACK * abs(guard.at_most)
    return above and below


def _broken(guard: Guard, value: float) -> str:
    bounds = [f"at least {guard.at_least:g}"] if guard.at_least is not None else []
    bounds += [f"at most {guard.at_most:g}"] if guard.at_most is not None else []
    return f"{guard.figure} of the {guard.of} is {value:.3g}, needed {' and '.join(bounds)}"


def _signed(effect: Interval, claim: Claim) -> str:
    if claim.scale == "ratio":
        ratio = effect.exp()
        return f"×{ratio.mean:.3g} [{ratio.low:.3g}, {ratio.high:.3g}]"
    return f"{effect.mean:+.3g} [{effect.low:+.3g}, {effect.high:+.3g}]"


def _amount(by: float, claim: Claim) -> str:
    return f"×{math.exp(by):.3g}" if claim.scale == "ratio" else f"{by:+.3g}"


def _nothing(claim: Claim) -> str:
    return "×1" if claim.scale == "ratio" else "zero"
