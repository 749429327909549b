"""Figures of recommendations: where the item that came next stands in the ranking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUTS = (1, 5, 10)


def ranks(
    scores: NDArray[np.floating], wanted: NDArray[np.integer], left_out: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """The rank of each row's wanted item among all, 1 being the best; equal scores share the mean of their ranks.

    Args:
        scores: `[n, items]`.
        wanted: `[n]`.
        left_out: items that are not ranked, `[n, items]`; the wanted one always is.
    """
    rows = np.arange(len(scores))
    own = scores[rows, wanted][:, None]
    counted = np.ones(scores.shape, bool) if left_out is None else ~left_out
    counted[rows, wanted] = False
    better, equal = (counted & (scores > own)).sum(1), (counted & (scores == own)).sum(1)
    return 1 + better + equal / 2


def figures(ranked: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """`hr@1`, `hr@5`, `hr@10`, `ndcg@5`, `ndcg@10` and `mrr` of each row, from its rank.

    With one item that is right, nDCG is 1 / log₂(1 + rank) and the hit rate is recall.
    """
    found = {f"hr@{cut}": (ranked <= cut).astype(np.float64) for cut in CUTS}
    gain = 1 / np.log2(1 + ranked)
    found |= {f"ndcg@{cut}": np.where(ranked <= cut, gain, 0.0) for cut in CUTS[1:]}
    return found | {"mrr": 1 / ranked}


def sampled_ranks(
    scores: NDArray[np.floating],
    wanted: NDArray[np.integer],
    seen: NDArray[np.bool_],
    popularity: NDArray[np.floating],
    count: int = 100,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Ranks among the wanted item and `count` others that were not seen, drawn by popularity without repeats.

    Such figures flatter and can order systems differently than the full ranking (Krichene & Rendle 2020,
    https://doi.org/10.1145/3394486.3403226); papers report them, so they stand beside it.
    """
    random = np.random.default_rng(seed)
    rows = np.arange(len(scores))
    with np.errstate(divide="ignore"):
        chance = np.log(popularity.astype(np.float64))
    keys = chance + random.gumbel(size=scores.shape)  # the largest keys are draws without repeats
    keys[seen] = -np.inf
    keys[rows, wanted] = -np.inf
    some = min(count, scores.shape[1] - 1)
    drawn = np.argpartition(-keys, some - 1, axis=1)[:, :some] if some else np.zeros((len(scores), 0), np.int64)
    usable = np.isfinite(np.take_along_axis(keys, drawn, 1))
    others = np.take_along_axis(scores, drawn, 1)
    own = scores[rows, wanted][:, None]
    return 1 + (usable & (others > own)).sum(1) + (usable & (others == own)).sum(1) / 2
