"""Which arm to recommend: the best one, or a cheaper one that is as good as far as can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twofold.measure import statistics
from twofold.trials.arms import Measured

FASTER = 2.0  # a cheaper arm is preferred when it answers in half the time and no loss can be shown


def recommend(
    arms: Sequence[Measured], items: Mapping[str, np.ndarray], sign: float, weights: np.ndarray | None = None
) -> Measured | None:
    """The arm to recommend, by validation figures alone; it is marked.

    Args:
        arms: those that finished, with `validation` and `latency_ms`.
        items: the figure of every validation item, by arm, `[n]` each, paired.
        sign: +1 where more is better, -1 where less is.
        weights: what each item counts for, `[n]`; None: all alike.
    """
    judged = [a for a in arms if a.validation is not None]
    if not judged:
        return None
    best = max(judged, key=lambda a: sign * (a.validation or 0.0))
    chosen = best
    for arm in judged:
        if arm is best or arm.latency_ms is None or chosen.latency_ms is None:
            continue
        gain = statistics.paired_bootstrap(items[best.label], items[arm.label], weights=weights)
        as_good = sign * gain.mean >= 0 or gain.low <= 0 <= gain.high
        if as_good and arm.latency_ms["median"] * FASTER < chosen.latency_ms["median"]:
            chosen = arm
    for arm in arms:
        arm.recommended = arm is chosen
    return chosen
