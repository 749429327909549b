"""Two rankings made one: by their scores on one scale, or by their ranks."""

from __future__ import annotations

from collections.abc import Mapping

Scored = Mapping[str, float]
"""Document to score, more is better."""


def linear(sparse: Scored, dense: Scored, weight: float) -> dict[str, float]:
    """`sparse + weight · dense`, each on a scale from 0 to 1 first.

    Luan et al. 2021, https://arxiv.org/abs/2005.00181, section 6. A document that one list lacks has that list's lowest
    score there. With `weight` 0 the order is that of `sparse`; the larger it is, the nearer to that of `dense`.
    """
    one, other = _scaled(sparse), _scaled(dense)
    return {id: one.get(id, 0.0) + weight * other.get(id, 0.0) for id in {**one, **other}}


def reciprocal_rank(sparse: Scored, dense: Scored, constant: float = 60.0) -> dict[str, float]:
    """Σ 1 / (constant + rank) over the lists that hold a document.

    Cormack et al. 2009, https://doi.org/10.1145/1571941.1572114
    """
    found: dict[str, float] = {}
    for scores in (sparse, dense):
        for rank, id in enumerate(ranked(scores), 1):
            found[id] = found.get(id, 0.0) + 1 / (constant + rank)
    return found


def ranked(scores: Scored) -> list[str]:
    """Documents, best first; equal scores in the order given."""
    return sorted(scores, key=lambda id: -scores[id])


def _scaled(scores: Scored) -> dict[str, float]:
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    width = high - low
    return {id: (score - low) / width if width else 1.0 for id, score in scores.items()}
