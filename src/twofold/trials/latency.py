"""Milliseconds a request, the models taking turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from twofold.measure import costs

REQUESTS = 100


def serving(models: Mapping[str, tuple[Callable[[Any], Any], Sequence[Any]]]) -> dict[str, costs.Latency]:
    """The latency of each model, one request at a time, in turns, so that a machine that slows down slows them all.

    Args:
        models: name to a function that serves one request, and the requests.
    """
    turns = {name: _in_turn(serve, requests) for name, (serve, requests) in models.items()}
    timed = costs.interleaved(turns, rounds=REQUESTS, warmup=5)
    return {
        name: costs.Latency(float(np.median(times)), float(np.percentile(times, 95)), len(times))
        for name, times in timed.milliseconds.items()
    }


def _in_turn(serve: Callable[[Any], Any], requests: Sequence[Any]) -> Callable[[], Any]:
    following = itertools.cycle(requests)
    return lambda: serve(next(following))
