"""Span denoising: runs of tokens give way to sentinels, and what stood there is to be written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twofold.errors import UserError


def hide_spans(
    ids: Sequence[int], rate: float, longest: int, sentinels: Sequence[int], random: np.random.Generator
) -> tuple[list[int], list[int]]:
    """A sequence with some of its spans hidden, and what was hidden. Raffel et al. 2020, https://arxiv.org/abs/1910.10683

    Spans of 1 to `longest` tokens, uniformly, are hidden until `rate` of the tokens are, or the sentinels are used up;
    at least one token stands between two of them.

    Args:
        ids: without sentinels.
        rate: above 0 and below 1.
        longest: at least 1.
        sentinels: in the order in which they are used.

    Returns:
        The source, a sentinel in place of each span; and the target, each sentinel followed by its span.

    Raises:
        UserError: a rate or a length out of range.
    """
    if not 0 < rate < 1 or longest < 1:
        raise UserError(
            f"spans of 1 to {longest} tokens at a rate of {rate}; give 1 or more, and a share between 0 and 1"
        )
    wanted = min(len(ids) - 1, max(1, round(rate * len(ids)))) if len(ids) > 1 else 0
    lengths = random.integers(1, longest + 1, wanted)
    lengths = lengths[: np.searchsorted(lengths.cumsum(), wanted) + 1][: len(sentinels)]
    if wanted:
        lengths[-1] -= max(0, int(lengths.sum()) - wanted)
    seen = len(ids) - int(lengths.sum())
    count = min(len(lengths), seen + 1)
    lengths = lengths[:count]
    # Each span stands before one of the seen tokens, or at the end; no two at one place, so none touch.
    gaps = np.sort(random.permutation(len(ids) - int(lengths.sum()) + 1)[:count])
    starts = gaps + np.concatenate([[0], lengths.cumsum()[:-1]]).astype(int)
    return _replaced(ids, starts.tolist(), lengths.tolist(), sentinels)


def corrupt_spans(
    ids: Sequence[int], random: np.random.Generator, sentinels: Sequence[int], rate: float = 0.15, mean: float = 20.0
) -> tuple[list[int], list[int]]:
    """A sequence cut at random into spans that are hidden and spans that are not, the last one hidden.

    Raffel et al. 2020, section 3.1.4; on bytes Xue et al. 2022, https://arxiv.org/abs/2105.13626

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
    starts = np.cumsum(gaps) + np.cumsum([0, *lengths[:-1]])
    return _replaced(ids, starts.tolist(), lengths, sentinels)


def restore(source: Sequence[int], target: Sequence[int], sentinels: Sequence[int]) -> list[int]:
    """The sequence that `hide_spans` or `corrupt_spans` took apart."""
    marks, current = set(sentinels), -1
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in marks:
            current = token
            spans[current] = []
        else:
            spans[current].append(token)
    return [token for item in source for token in (spans[item] if item in marks else [item])]


def _replaced(
    ids: Sequence[int], starts: Sequence[int], lengths: Sequence[int], sentinels: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The sequence with a sentinel in place of each span; and each sentinel followed by its span."""
    source: list[int] = []
    target: list[int] = []
    end = 0
    for sentinel, start, length in zip(sentinels, starts, lengths, strict=False):
        source += [*ids[end:start], sentinel]
        end = start + length
        target += [sentinel, *ids[start:end]]
    return [*source, *ids[end:]], target


def _parts(total: int, count: int, random: np.random.Generator) -> list[int]:
    """Random whole numbers of at least 1 that add up to `total`."""
    cuts = np.sort(random.permutation(total - 1)[: count - 1] + 1)
    return np.diff([0, *cuts.tolist(), total]).tolist()
