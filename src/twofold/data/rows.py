"""`Rows`: a table of examples, whatever it was read from."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twofold.data.cache import digest
from twofold.errors import UserError, did_you_mean

PARTS = ("train", "validation", "test")

# What people call the columns that tasks ask for, likeliest first; only used to suggest a renaming.
_OTHER_NAMES = {
    "query": ("question", "queries", "search", "title", "summary", "anchor", "prompt", "q"),
    "document": ("answer", "passage", "doc", "positive", "body", "content", "context", "response", "code"),
    "text": ("sentence", "content", "body", "document", "review", "utterance", "message", "string"),
    "label": ("labels", "class", "category", "target", "intent", "y"),
    "grade": ("score", "relevance", "rating", "label"),
    "group": ("document_id", "doc_id", "user", "speaker", "author", "source"),
}


@dataclass(frozen=True, repr=False)
class Rows:
    """Named columns of equal length.

    Attributes:
        name: what the data is called in tables and records.
        columns: column name → one value a row. Treat as read-only.
        fingerprint: changes when a value, a column or the order of the rows does.
        source: where the rows came from, in words or as a path.
        splits: "train", "validation" or "test" for each row; None while the rows have not been split.
    """

    name: str
    columns: dict[str, list[Any]] = field(compare=False)
    fingerprint: str
    source: str
    splits: list[str] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        lengths = {len(values) for values in self.columns.values()}
        if self.splits is not None:
            lengths.add(len(self.splits))
        if len(lengths) > 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Sequence[Any]],
        *,
        name: str = "rows",
        source: str = "made in Python",
        splits: Sequence[str] | None = None,
        prefix: str = "sha256",
    ) -> Rows:
        """Rows from columns of equal length, with the fingerprint of their content."""
        own = {str(key): list(values) for key, values in columns.items()}
        own_splits = None if splits is None else list(splits)
        parts = [f"{key}={json.dumps(own[key], ensure_ascii=False, default=repr)}" for key in sorted(own)]
        content = digest(*parts, json.dumps(own_splits))
        return cls(name, own, f"{prefix}-{content[:16]}", source, own_splits)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __repr__(self) -> str:
        split = "" if self.splits is None else f", split {'/'.join(str(self.splits.count(p)) for p in PARTS)}"
        return f"Rows({self.name!r}: {len(self)} rows of {', '.join(self.columns)}{split})"

    def require(self, *names: str) -> tuple[list[Any], ...]:
        """The named columns, in that order: `queries, documents = rows.require("query", "document")`.

        Raises UserError naming the columns found, those needed and the renaming that would mend it.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            renaming = ",".join(f"{name}={self._likely(name, names)}" for name in missing)
            raise UserError(
                f"{self.source} has no column {' or '.join(map(repr, missing))} "
                f"(found: {listed(self.columns)}; needed: {listed(names)}); "
                f"rename with --columns {renaming}" + (self._uncounted(missing) if "=YOUR_COLUMN" in renaming else "")
            )
        return tuple(self.columns[name] for name in names)

    def _uncounted(self, missing: Sequence[str]) -> str:
        """What to do where a table's first line may be no names."""
        if not self.source.removesuffix(".gz").endswith((".csv", ".tsv")):
            return ""
        counted = ",".join(f"{name}={n}" for n, name in enumerate(missing, 1))
        return f" (if the file has no line of names, count its columns: --columns {counted})"

    def _likely(self, name: str, needed: Sequence[str]) -> str:
        """The column a person probably means by `name`."""
        free = {column.casefold().strip(): column for column in self.columns if column not in needed}
        for other in (name, *_OTHER_NAMES.get(name, ())):
            if other in free:
                return shown(free[other])
        near = did_you_mean(name, free)
        return shown(free[near.split("'")[1]]) if near else "YOUR_COLUMN"

    def filled(self, *names: str) -> Rows:
        """The rows in which none of the named columns is empty (None, NaN or only white space).

        Warns with the count of rows left out; raises UserError where none is left or a column is missing.
        """
        wanted = self.require(*names)
        kept, first = [], ""
        for index, values in enumerate(zip(*wanted, strict=True)):
            blank = next((name for name, value in zip(names, values, strict=True) if is_empty(value)), None)
            if blank is None:
                kept.append(index)
            elif not first:
                first = f"{blank!r} in row {index + 1}"
        dropped = len(self) - len(kept)
        if not kept:
            lacking = " or ".join(map(repr, names))
            raise UserError(f"{self.source}: each of its {len(self)} rows has an empty {lacking}; fill them in")
        if dropped:
            warnings.warn(
                f"{self.source}: {dropped} of {len(self)} rows left out, empty {first}"
                + (" and others" if dropped > 1 else ""),
                stacklevel=2,
            )
        return self.take(kept)

    def take(self, indices: Iterable[int]) -> Rows:
        """The rows at `indices`, in that order (repeats allowed), with a fingerprint of their own."""
        chosen = [int(index) for index in indices]
        if chosen == list(range(len(self))):
            return self
        return replace(
            self,
            columns={name: [values[index] for index in chosen] for name, values in self.columns.items()},
            fingerprint=f"{self.fingerprint.split('/')[0]}/{digest(self.fingerprint, repr(chosen))[:12]}",
            splits=None if self.splits is None else [self.splits[index] for index in chosen],
        )

    def part(self, name: str) -> Rows:
        """The rows of one split, "train", "validation" or "test". Raises UserError while there are no splits."""
        if name not in PARTS:
            raise UserError(f"no part {name!r}; the parts are {listed(PARTS)}.{did_you_mean(name, PARTS)}")
        if self.splits is None:
            raise UserError(f"{self.source} is not split yet; call twofold.data.split(rows) first")
        return self.take(index for index, split in enumerate(self.splits) if split == name)


def is_empty(value: Any) -> bool:
    """Whether a cell says nothing: None, NaN, or a text of white space only."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


def shown(name: object) -> str:
    """A name as an error message shows it: on one line, cut at 40 characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= 40 else text[:39] + "…"


def listed(names: Iterable[object]) -> str:
    """Names for an error message: the first twenty, each cut short."""
    every = [shown(name) for name in names]
    return ", ".join(every[:20]) + (f", … ({len(every)} in all)" if len(every) > 20 else "") or "none"
