"""Milliseconds a request, the models taking turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from twofold.measure import costs

REQUESTS = 100
FEWEST, SECONDS = 30, 1.5  # where so many requests take longer than that in all, fewer are made


def serving(models: Mapping[str, tuple[Callable[[Any], Any], Sequence[Any]]]) -> dict[str, costs.Latency]:
    """The latency of each model, one request at a time, in turns, so that a machine that slows down slows them all.

    Args:
        models: name to a function that serves one request, and the requests.
    """
    turns = {name: _in_turn(serve, requests) for name, (serve, requests) in models.items()}
    first = costs.interleaved(turns, rounds=3, warmup=2)
    round_of_all = sum(first.medians.values()) / 1e3
    rounds = int(min(REQUESTS, max(FEWEST, SECONDS / max(round_of_all, 1e-6))))
    timed = costs.interleaved(turns, rounds=rounds, warmup=0)
    return {
        name: costs.Latency(float(np.median(times)), float(np.percentile(times, 95)), len(times))
        for name, times in timed.milliseconds.items()
    }


def _in_turn(serve: Callable[[Any], Any], requests: Sequence[Any]) -> Callable[[], Any]:
    following = itertools.cycle(requests)
    return lambda: serve(next(following))
