"""A small fixed case: made-up rows and a random network. Contract tests and behaviour traces use it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from twofold.data.made.histories import histories
from twofold.data.made.scenes import scenes
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

    Columns: `id`, `query`, `document`, `text`, `label` (the quality), `group` (16 groups); split into train,
    validation and test.
    """
    made = np.random.default_rng(seed)
    queries, documents, labels = [], [], []
    for number in range(count):
        thing, other = made.choice(_THINGS, 2, replace=False)
        quality, verb = made.choice(_QUALITIES), made.choice(_VERBS)
        queries.append(f"{verb} the {quality} {thing} {number}")
        labels.append(str(quality))
        documents.append(f"The {thing} number {number} is {quality}. People {verb} it beside the {other}.")
    columns = {
        "id": [str(i) for i in range(count)],
        "query": queries,
        "document": documents,
        "text": documents,
        "label": labels,
        "group": [f"g{i % 16}" for i in range(count)],
    }
    return split(
        Rows("small", columns, fingerprint=f"small-{count}-{seed}", source="made", splits=None), (0.6, 0.15, 0.25)
    )


def small_images(count: int = 120, seed: int = 0) -> Rows:
    """Made-up images 8 × 8 of three classes: a bright row, column or corner. Columns `image` and `label`."""
    made = np.random.default_rng(seed)
    images: list[np.ndarray] = []
    labels: list[str] = []
    for number in range(count):
        image = made.integers(0, 60, (8, 8))
        label = ("row", "column", "corner")[number % 3]
        line = int(made.integers(8))
        view = {"row": image[line], "column": image[:, line], "corner": image[:3, :3]}[label]
        view += 150
        images.append(image.astype(np.uint8))
        labels.append(label)
    return Rows("small images", {"image": images, "label": labels}, f"small-images-{count}-{seed}", "made")


def small_histories() -> Rows:
    """Made-up histories: 40 users, 24 items in four groups."""
    return histories(users=40, items=24, groups=4, shortest=5, longest=12, seed=0)


def small_problems(count: int = 120, seed: int = 0) -> Rows:
    """Made-up problems: a word of one to four letters, and the word again. Columns `prompt` and `answer`, split."""
    made = np.random.default_rng(seed)
    words = ["".join(made.choice(list("abcd"), 1 + i % 4)) for i in range(count)]
    columns = {"prompt": words, "answer": words, "group": [str(i) for i in range(count)]}
    rows = Rows("small-problems", columns, fingerprint=f"small-problems-{count}-{seed}", source="made", splits=None)
    return split(rows, (0.6, 0.15, 0.25))


def small_rewrites(count: int = 120) -> Rows:
    """Made-up rewrites: a word of one to four letters, and it from its end. Columns `source` and `target`, split."""
    rows = small_problems(count)
    words = rows.columns["prompt"]
    columns = {"source": words, "target": [word[::-1] for word in words], "group": rows.columns["group"]}
    made = Rows("small-rewrites", columns, f"small-rewrites-{count}", "made", splits=None)
    return split(made, (0.6, 0.15, 0.25))


def rows_for(system: Any) -> Rows:
    """The small rows that a system can read."""
    if "segment" in system.card.tasks:
        return scenes(train=40, validation=8, test=8, side=12)
    if "rewrite" in system.card.tasks:
        return small_rewrites()
    if "recommend" in system.card.tasks:
        return small_histories()
    if system.kind == "model" and system.card.tasks[0] == "solve":
        return small_problems()
    return small_rows() if "text" in getattr(system, "reads", ("text",)) else small_images()


def small_model(seed: int = 0) -> EncoderModel:
    """A random two-layer encoder over bytes, width 32."""
    tokenizer = ByteTokenizer()
    torch.manual_seed(seed)
    net = TextEncoder(presets.encoder(vocab=tokenizer.vocab_size, dim=32, layers=2, heads=4, max_len=64), Mean())
    spec = {"query_tokens": 32, "document_tokens": 64, "query_prefix": "", "document_prefix": ""}
    return EncoderModel(net.eval(), tokenizer, spec)
