"""What a saved model's settings describe by a kind's name and its arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def of_kind(spec: Mapping[str, Any], kinds: Iterable[type[T]]) -> T:
    """The object that a spec describes: one of `kinds`, each with its name as `kind`, made with the spec's arguments.

    Lists, as JSON has them, become tuples.
    """
    known: dict[str, type[T]] = {cls.kind: cls for cls in kinds}  # type: ignore[attr-defined]
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k != "kind"}
    return known[spec["kind"]](**arguments)
