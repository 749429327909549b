"""Span corruption: runs of tokens are hidden behind sentinels, and written out by a decoder.

Raffel et al. 2020, section 3.1.4, https://arxiv.org/abs/1910.10683; on bytes Xue et al. 2022,
https://arxiv.org/abs/2105.13626
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twofold.errors import UserError


def corrupt_spans(
    ids: Sequence[int], random: np.random.Generator, sentinels: Sequence[int], rate: float = 0.15, mean: float = 20.0
) -> tuple[list[int], list[int]]:
    """What the encoder reads and what the decoder writes.

    Args:
        ids: a text of at least two tokens.
        sentinels: ids that stand for spans, in order; as many spans at most.
        rate: share of tokens that are hidden.
        mean: length of a span, on average.

    Returns:
        The text with each span replaced by a sentinel; and each sentinel with its span, in order.

    Raises:
        UserError: fewer than two tokens, or no sentinels.
    """
    if len(ids) < 2 or not len(sentinels):
        raise UserError(f"{len(ids)} tokens and {len(sentinels)} sentinels: spans need two tokens and a sentinel")
    hidden = min(len(ids) - 1, max(1, round(rate * len(ids))))
    spans = max(1, min(round(hidden / mean), hidden, len(ids) - hidden, len(sentinels)))
    lengths, gaps = _parts(hidden, spans, random), _parts(len(ids) - hidden, spans, random)
    source: list[int] = []
    target: list[int] = []
    place = 0
    for gap, length, sentinel in zip(gaps, lengths, sentinels, strict=False):
        source += [*ids[place : place + gap], sentinel]
        target += [sentinel, *ids[place + gap : place + gap + length]]
        place += gap + length
    return source, target


def restore_spans(source: Sequence[int], target: Sequence[int], sentinels: Sequence[int]) -> list[int]:
    """The text that `corrupt_spans` took apart."""
    known, current = set(sentinels), -1
    spans: dict[int, list[int]] = {}
    for index in target:
        if index in known:
            current = index
            spans[current] = []
        else:
            spans[current].append(index)
    return [token for index in source for token in (spans[index] if index in known else [index])]


def _parts(total: int, count: int, random: np.random.Generator) -> list[int]:
    """Random whole numbers of at least 1 that add up to `total`."""
    cuts = np.sort(random.permutation(total - 1)[: count - 1] + 1)
    return np.diff([0, *cuts.tolist(), total]).tolist()
