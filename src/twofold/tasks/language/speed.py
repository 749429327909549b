"""What a language model costs in use: tokens a second one by one, and the cache that a context fills."""

from __future__ import annotations

import time

import torch

from twofold import computing
from twofold.decoding import generate
from twofold.errors import UserError
from twofold.tasks.language.model import LanguageModel

CONTEXTS = (1_024, 8_192, 65_536)
_TOKENS = 48


def in_use(model: LanguageModel) -> dict[str, float]:
    """`decoding_tokens_per_second` for one text, and `cache_bytes@…` of one row behind each context.

    Left out is what there is none of: a context beyond the network's positions, a cache where every token is computed
    from all before it, and everything where there is no network.
    """
    if not model.parameters:
        return {}
    return {"decoding_tokens_per_second": tokens_per_second(model)} | cache_bytes(model)


def tokens_per_second(model: LanguageModel) -> float:
    """In decoding one text from its start, each token by itself, in the form that `generate` uses."""
    limit = max(1, min(_TOKENS, model.length - 2))
    net = model.generating(1, limit)
    with computing.inference():
        generate(net, [[model.start]], min(4, limit))
        began = time.perf_counter()
        generate(net, [[model.start]], limit)
    return limit / (time.perf_counter() - began)


def cache_bytes(model: LanguageModel) -> dict[str, float]:
    """Of one row, counted and not filled."""
    found = {}
    for context in CONTEXTS:
        try:
            cache = model.net.new_cache(1, context, device=torch.device("meta"))
        except UserError:
            continue
        found[f"cache_bytes@{context}"] = float(cache.bytes_at(context))
    return found
