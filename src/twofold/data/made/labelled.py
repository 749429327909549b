"""What all made text tasks share: examples with a label become `Rows`, parts balanced and in an order of the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from twofold.data.rows import PARTS, Rows

T = TypeVar("T")

Example = Mapping[str, Any]
"""A `text`, its `label`, and what else the task says of it; where only some labels can be meant, their `choices`."""


def gathered(name: str, parts: Mapping[str, Iterable[Example]], seed: int, source: str | None = None) -> Rows:
    """Rows with the columns of the examples and `split`; each part in an order of its own.

    Args:
        name: of the set.
        parts: the examples of train, validation and test.
        seed: of the order; named in the source.
        source: where the examples came from; by default, that they were made.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {}
    splits: list[str] = []
    for part in PARTS:
        examples = list(parts[part])
        for index in random.permutation(len(examples)):
            for column, value in examples[index].items():
                columns.setdefault(column, []).append(value)
            splits.append(part)
    return Rows.of({**columns, "split": splits}, name=name, source=source or f"made, seed {seed}", splits=splits)


def pick(values: Sequence[T], random: np.random.Generator) -> T:
    """One of the values, each as likely as the others."""
    return values[int(random.integers(len(values)))]


def some(values: Sequence[T], count: int, random: np.random.Generator) -> list[T]:
    """`count` of the values, in random order, none twice."""
    return [values[i] for i in random.permutation(len(values))[:count]]


def dealt(values: Sequence[T], count: int, random: np.random.Generator) -> list[T]:
    """`count` values in random order, each as often as the others (to one)."""
    repeated = [values[i % len(values)] for i in range(count)]
    return [repeated[i] for i in random.permutation(count)]


def sentence(text: str) -> str:
    """The text with a capital at its beginning."""
    return text[:1].upper() + text[1:]
