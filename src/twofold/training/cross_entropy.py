"""The cross-entropy method: settings drawn from a distribution that moves towards the best of them.

Rubinstein 1999, https://doi.org/10.1023/A:1010091220143; for settings of word vectors Li 2024,
https://arxiv.org/abs/2410.18441
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from twofold.errors import UserError


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`; `log`: evenly by their logarithm; `whole`: whole ones."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Domain = Between | Sequence[Any]
"""Numbers of a range, or a list of values."""


@dataclass(frozen=True)
class Trial:
    """Settings, and how good they were."""

    settings: dict[str, Any]
    score: float


def cross_entropy_search(
    score: Callable[[dict[str, Any]], float],
    domains: Mapping[str, Domain],
    *,
    rounds: int = 5,
    samples: int = 10,
    keep: float = 0.2,
    smoothing: float = 0.7,
    seed: int = 0,
) -> list[Trial]:
    """Every trial, best first (more is better).

    Ranges are drawn from a truncated normal, lists from chances; both begin even (the normal as wide as the range), and
    after each round move to the best `keep` of its trials: new = `smoothing` · theirs + (1 − `smoothing`) · old. One
    round is a random search.

    Raises:
        UserError: an empty domain; names the setting.
    """
    for name, domain in domains.items():
        empty = domain.low >= domain.high if isinstance(domain, Between) else not len(domain)
        if empty or (isinstance(domain, Between) and domain.log and domain.low <= 0):
            raise UserError(f"setting {name} has nothing to choose from; give a range that rises, or a list of values")
    rng = np.random.default_rng(seed)
    states = {name: _State.of(domain) for name, domain in domains.items()}
    trials: list[Trial] = []
    for _ in range(rounds):
        drawn = [{name: state.draw(rng) for name, state in states.items()} for _ in range(samples)]
        found = [Trial({n: states[n].value(x) for n, x in each.items()}, 0.0) for each in drawn]
        scores = [float(score(trial.settings)) for trial in found]
        trials += [Trial(trial.settings, value) for trial, value in zip(found, scores, strict=True)]
        best = np.argsort(scores, kind="stable")[::-1][: max(1, round(keep * samples))]
        for name, state in states.items():
            state.move(np.array([drawn[i][name] for i in best]), smoothing)
    return sorted(trials, key=lambda trial: -trial.score)


class _State:
    """The distribution of one setting; draws are places between 0 and 1, or numbers of values."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @staticmethod
    def of(domain: Domain) -> _State:
        return _Range(domain) if isinstance(domain, Between) else _Choice(domain)

    def draw(self, rng: np.random.Generator) -> float:
        raise NotImplementedError

    def value(self, drawn: float) -> Any:
        raise NotImplementedError

    def move(self, best: np.ndarray, smoothing: float) -> None:
        raise NotImplementedError


class _Range(_State):
    def __init__(self, domain: Between) -> None:
        super().__init__(domain)
        self.ends = np.log([domain.low, domain.high]) if domain.log else np.array([domain.low, domain.high], float)
        self.given, self.mean, self.deviation = domain, 0.5, 1.0

    def draw(self, rng: np.random.Generator) -> float:
        while True:  # a mean inside the range is left by a truncated normal at least half of the time
            x = rng.normal(self.mean, self.deviation)
            if 0 <= x <= 1:
                return float(x)

    def value(self, drawn: float) -> Any:
        x = float(self.ends[0] + drawn * (self.ends[1] - self.ends[0]))
        x = float(np.exp(x)) if self.given.log else x
        return round(x) if self.given.whole else x

    def move(self, best: np.ndarray, smoothing: float) -> None:
        self.mean = smoothing * float(best.mean()) + (1 - smoothing) * self.mean
        self.deviation = max(1e-3, smoothing * float(best.std()) + (1 - smoothing) * self.deviation)


class _Choice(_State):
    def __init__(self, domain: Sequence[Any]) -> None:
        super().__init__(domain)
        self.values, self.chances = list(domain), np.full(len(domain), 1 / len(domain))

    def draw(self, rng: np.random.Generator) -> float:
        return float(rng.choice(len(self.values), p=self.chances))

    def value(self, drawn: float) -> Any:
        return self.values[int(drawn)]

    def move(self, best: np.ndarray, smoothing: float) -> None:
        share = np.bincount(best.astype(int), minlength=len(self.values)) / len(best)
        self.chances = smoothing * share + (1 - smoothing) * self.chances
