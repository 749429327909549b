"""A subword vocabulary by merges that raise the likelihood of the training text the most.

Li 2024, https://arxiv.org/abs/2410.18441; split by the best path, as in Kudo 2018, https://arxiv.org/abs/1804.10959
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from twofold.data.tokenizers.subword import SubwordTokenizer, around
from twofold.data.tokenizers.training import _BPE, _some
from twofold.errors import UserError

Pair = tuple[str, str]


def _x(n: float) -> float:
    return n * math.log(n) if n > 0 else 0.0


def gain(pair: Pair, count: int, units: Mapping[str, int], total: int) -> float:
    """How much Σ n ln p rises (nats) when `count` occurrences of a pair become one unit."""
    a, b = pair
    before, after = _x(units[a]) - _x(total), _x(count) - _x(total - count)
    if a == b:
        return after + _x(units[a] - 2 * count) - before
    return after + _x(units[a] - count) + _x(units[b] - count) - before - _x(units[b])


def likelihood_merges(words: Mapping[str, int], merges: int) -> tuple[list[Pair], Counter[str]]:
    """The merges, best first, none that would lower the likelihood; and how often each unit stands in the end.

    Args:
        words: how often each word occurs; merges stay within words.
        merges: how many at most.
    """
    split = [list(word) for word in words]
    times = list(words.values())
    units: Counter[str] = Counter()
    pairs: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = {}
    for i, parts in enumerate(split):
        _count(parts, times[i], units, pairs, where, i)
    found: list[Pair] = []
    while len(found) < merges:
        total = sum(units.values())
        best = max(((gain(p, n, units, total), p) for p, n in pairs.items() if n > 0), default=(0.0, ("", "")))
        if best[0] <= 0:
            break
        pair = best[1]
        found.append(pair)
        for i in sorted(where[pair]):
            _count(split[i], -times[i], units, pairs, where, i)
            split[i] = _merged(split[i], pair)
            _count(split[i], times[i], units, pairs, where, i)
    return found, units


def _count(
    parts: list[str], times: int, units: Counter[str], pairs: Counter[Pair], where: dict[Pair, set[int]], i: int
) -> None:
    for unit in parts:
        units[unit] += times
    place = 0
    while place + 1 < len(parts):
        pair = parts[place], parts[place + 1]
        pairs[pair] += times
        where.setdefault(pair, set()).add(i)
        # "aaa" holds one pair that can be merged, not two.
        place += 2 if pair[0] == pair[1] and place + 2 < len(parts) and parts[place + 2] == pair[0] else 1


def _merged(parts: list[str], pair: Pair) -> list[str]:
    out: list[str] = []
    place = 0
    while place < len(parts):
        if tuple(parts[place : place + 2]) == pair:
            out.append(pair[0] + pair[1])
            place += 2
        else:
            out.append(parts[place])
            place += 1
    return out


def train_likelihood(texts: Iterable[str], vocab: int = 4096) -> SubwordTokenizer:
    """A byte-level vocabulary by likelihood: any text goes in and comes back exactly.

    `vocab` pieces at most, of which 4 have a role (as `train_bpe` has them) and 256 are bytes. A text is split into the
    pieces whose probabilities multiply to the most.

    Raises:
        UserError: a vocabulary below 260, or no text at all.
    """
    if vocab < 260:
        raise UserError(f"vocab {vocab} is too small for 256 bytes and 4 tokens with a role; use at least 260")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = Counter(word for text in _some(texts) for word, _ in level.pre_tokenize_str(text))
    merges, found = likelihood_merges(words, vocab - 260)
    known = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    units = {unit: found[unit] for unit in known}
    roles = list(dict.fromkeys(_BPE.values()))
    total = sum(units.values())
    # Roles are no text: nothing is ever split into them.
    pieces = [(role, -1e9) for role in roles] + [(u, math.log(max(n, 0.5) / total)) for u, n in units.items()]
    made = Library(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    made.pre_tokenizer, made.decoder = level, decoders.ByteLevel()
    made.post_processor = around(made, "<s>", "</s>")
    return SubwordTokenizer(made.to_str(), _BPE)
