"""A small fixed case: made-up rows and a random network. Contract tests and behaviour traces use it."""

from __future__ import annotations

import numpy as np
import torch

from twofold.data.rows import Rows
from twofold.data.splits import split
from twofold.data.tokenizers import ByteTokenizer
from twofold.parts import Mean, TextEncoder, presets
from twofold.tasks.search.model import EncoderModel

_THINGS = ("lamp", "table", "river", "engine", "garden", "letter", "window", "basket", "ladder", "candle")
_QUALITIES = ("red", "small", "old", "quiet", "broken", "heavy", "bright", "empty")
_VERBS = ("find", "open", "paint", "move", "sell", "count")


def small_rows(count: int = 160, seed: int = 0) -> Rows:
    """Made-up pairs: a query names a thing and a quality, its document says more about them.

    Columns: `id`, `query`, `document`, `text`, `group` (16 groups); split into train, validation and test.
    """
    made = np.random.default_rng(seed)
    queries, documents = [], []
    for number in range(count):
        thing, other = made.choice(_THINGS, 2, replace=False)
        quality, verb = made.choice(_QUALITIES), made.choice(_VERBS)
        queries.append(f"{verb} the {quality} {thing} {number}")
        documents.append(f"The {thing} number {number} is {quality}. People {verb} it beside the {other}.")
    columns = {
        "id": [str(i) for i in range(count)],
        "query": queries,
        "document": documents,
        "text": documents,
        "group": [f"g{i % 16}" for i in range(count)],
    }
    return split(
        Rows("small", columns, fingerprint=f"small-{count}-{seed}", source="made", splits=None), (0.6, 0.15, 0.25)
    )


def small_model(seed: int = 0) -> EncoderModel:
    """A random two-layer encoder over bytes, width 32."""
    tokenizer = ByteTokenizer()
    torch.manual_seed(seed)
    net = TextEncoder(presets.encoder(vocab=tokenizer.vocab_size, dim=32, layers=2, heads=4, max_len=64), Mean())
    spec = {"query_tokens": 32, "document_tokens": 64, "query_prefix": "", "document_prefix": ""}
    return EncoderModel(net.eval(), tokenizer, spec)
