"""Figures of language models that do not depend on the tokenizer, and one that does."""

from __future__ import annotations

import math


def bits_per_byte(total_nats: float, utf8_bytes: int) -> float:
    """Bits that a model spends on each byte of text, whatever its tokenizer.

    Args:
        total_nats: negative log-likelihood of the whole text, summed over its tokens, in nats.
        utf8_bytes: length of the same text in UTF-8.

    Returns:
        `total_nats / ln 2 / utf8_bytes`. A model that knows nothing needs 8.

    Raises:
        ValueError: no bytes, or a likelihood that is not a finite number >= 0.
    """
    if utf8_bytes <= 0:
        raise ValueError(f"bits per byte of {utf8_bytes} bytes; the text must hold at least one byte")
    return _nats(total_nats) / math.log(2) / utf8_bytes


def perplexity(total_nats: float, tokens: int) -> float:
    """The exponential of the mean negative log-likelihood of a token; comparable under one tokenizer only.

    Raises:
        ValueError: no tokens, or a likelihood that is not a finite number >= 0.
    """
    if tokens <= 0:
        raise ValueError(f"perplexity of {tokens} tokens; the text must hold at least one token")
    return math.exp(_nats(total_nats) / tokens)


def _nats(total: float) -> float:
    if not (math.isfinite(total) and total >= 0):
        raise ValueError(f"a negative log-likelihood of {total}; it must be finite and not negative")
    return total
