"""Examples to classify: texts or images, each with what is to be said of it, in parts that hold every class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from twofold.data.cache import digest
from twofold.data.images import pixels
from twofold.data.rows import Rows, is_empty
from twofold.data.splits import split
from twofold.errors import UserError
from twofold.tasks.classify import labels
from twofold.tasks.classify.targets import Number, OneLabel, Target

PARTS = ("train", "validation", "test")
SHARES = (0.7, 0.1, 0.2)
Modality = Literal["text", "image"]
Inputs = Sequence[str] | np.ndarray


@dataclass(frozen=True)
class ClassifyData:
    """Texts or images with their labels, each in one part.

    Args:
        name, source, fingerprint: of the data set.
        modality: "text" or "image".
        inputs: texts, or images uint8 `[n, height, width, channels]`.
        target: what is predicted; made from the training part.
        values: what is true of each item, as the target takes it.
        parts: "train", "validation" or "test" of each.
        notes: what a person should know: rows left out, uneven classes.
    """

    name: str
    source: str
    fingerprint: str
    modality: Modality
    inputs: Inputs
    target: Target
    values: np.ndarray
    parts: np.ndarray
    notes: tuple[str, ...] = ()

    def indices(self, part: str) -> np.ndarray:
        """Indices of a part's items, `[n]`.

        Raises:
            UserError: it has none.
        """
        found = np.flatnonzero(self.parts == part)
        if not len(found):
            raise UserError(f"{self.name}: no {part} rows; give more, or a split column with {part} rows")
        return found

    def part(self, part: str) -> tuple[Inputs, np.ndarray]:
        """A part's inputs and values, in order."""
        found = self.indices(part)
        return take(self.inputs, found), self.values[found]

    def only(self, kept: Sequence[int] | np.ndarray) -> ClassifyData:
        """Those items alone, by index; the target stays as it is."""
        chosen = np.asarray(kept, dtype=np.int64)
        return replace(self, inputs=take(self.inputs, chosen), values=self.values[chosen], parts=self.parts[chosen])

    def few(self, count: int, seed: int) -> ClassifyData:
        """Only `count` training items, drawn by the seed, each class as often as the others; other parts whole.

        Raises:
            UserError: fewer than the classes, or more than there are.
        """
        train = self.indices("train")
        classes = self.values[train] if isinstance(self.target, OneLabel) else np.zeros(len(train), np.int64)
        least = len(np.unique(classes))
        if not least <= count <= len(train):
            raise UserError(
                f"examples={count}, but {self.name} has {len(train)} of {least} classes; choose between them"
            )
        shuffled = np.random.default_rng(seed).permutation(len(train))
        turn = np.zeros(len(train), np.int64)  # an item's place among those of its class
        for each in np.unique(classes):
            turn[shuffled[classes[shuffled] == each]] = np.arange((classes == each).sum())
        chosen = train[shuffled[np.argsort(turn[shuffled], kind="stable")][:count]]
        return self.only(np.sort(np.concatenate([chosen, np.flatnonzero(self.parts != "train")])))

    def cut(self, share: float, least: int = 2) -> ClassifyData:
        """Keeps about that share of every class of every part, at least `least` items of each, always the same ones."""
        kept: list[int] = []
        strata = self.values if isinstance(self.target, OneLabel) else np.zeros(len(self.values), np.int64)
        order = [_key(self.inputs[i]) for i in range(len(self.inputs))]
        fewest = least if isinstance(self.target, OneLabel) else 8
        for part in PARTS:
            here = np.flatnonzero(self.parts == part)
            for stratum in np.unique(strata[here]):
                members = sorted(here[strata[here] == stratum].tolist(), key=order.__getitem__)
                kept += members[: max(fewest, round(len(members) * share))]
        return self.only(sorted(kept))


def take(inputs: Inputs, index: np.ndarray) -> Inputs:
    """Inputs at `index`, in that order."""
    return inputs[index] if isinstance(inputs, np.ndarray) else [inputs[i] for i in index]


def from_rows(rows: Rows) -> ClassifyData:
    """Data from rows with `text` or `image`, and `label`, `labels` or `number`; their own parts and groups are kept.

    Else every class is split for itself by a hash of the group (the text, the pixels), so that no class is missing
    from a part by chance.

    Raises:
        UserError: a column is missing, labels that cannot be learned from, or images that cannot be read.
    """
    modality: Modality = "image" if "image" in rows.columns else "text"
    rows.require(modality)
    column = labels.column_of(rows)
    notes: list[str] = []
    needed = (modality,) if column == "labels" else (modality, column)
    usable = [i for i in range(len(rows)) if not any(_blank(rows.columns[name][i]) for name in needed)]
    if not usable:
        raise UserError(f"{rows.source}: every row has an empty {' or '.join(needed)}; fill them in")
    if len(usable) < len(rows):
        notes.append(f"{len(rows) - len(usable)} rows with an empty {' or '.join(needed)} were left out")
        rows = rows.take(usable)
    kind, values = labels.read_labels(rows, column)
    inputs: Inputs = rows.columns["text"] if modality == "text" else pixels(_paths(rows))
    fingerprint = rows.fingerprint
    if isinstance(inputs, np.ndarray):
        keys = [_key(image) for image in inputs]
        fingerprint = f"images-{digest(*(key.hex() for key in keys), repr(values))[:16]}"
        if "group" not in rows.columns:
            rows = replace(rows, columns={**rows.columns, "group": [key.hex() for key in keys]})
    rows = split(rows, SHARES, values if kind == "one" else None)
    parts = np.array(rows.splits, dtype="<U10")
    target = labels.target(kind, values, np.flatnonzero(parts == "train"), rows)
    made = ClassifyData(
        rows.name, rows.source, fingerprint, modality, inputs, target, labels.encode(target, values), parts
    )
    if isinstance(target, OneLabel):
        made = _known_only(made, notes)
    notes += _about(target, column, values)
    return replace(made, notes=tuple(notes))


def _known_only(data: ClassifyData, notes: list[str]) -> ClassifyData:
    """Without the rows whose class has no training row."""
    unknown = np.flatnonzero(data.values < 0)
    if not len(unknown):
        return data
    notes.append(f"{len(unknown)} rows were left out: their classes have no training row")
    return data.only(np.flatnonzero(data.values >= 0))


def _about(target: Target, column: str, values: Sequence[Any]) -> list[str]:
    if isinstance(target, Number) and column == "label":
        return [
            f"the labels look like numbers ({len(set(values))} different ones) and are predicted as such; "
            "for classes give them names, such as 'level 3'"
        ]
    if isinstance(target, OneLabel) and target.weights:
        share = max(target.weights) / min(target.weights)
        return [
            f"classes are uneven (the largest has {share:.0f} times as many rows as the smallest): training weighs "
            "them, and the mean recall over classes (balanced accuracy) decides"
        ]
    return []


def _paths(rows: Rows) -> list[Any]:
    """Images as they are, and paths that are looked for beside the data's file where they are not absolute."""
    beside = Path(rows.source).parent

    def found(cell: Any) -> Any:
        if not isinstance(cell, str) or Path(cell).is_absolute() or Path(cell).exists():
            return cell
        return str(beside / cell)

    return [found(cell) for cell in rows.columns["image"]]


def _blank(cell: Any) -> bool:
    return not isinstance(cell, np.ndarray | list) and is_empty(cell)


def _key(item: Any) -> bytes:
    """A name of an item's content, the same on every machine."""
    content = (
        item.tobytes() + str(item.shape).encode() if isinstance(item, np.ndarray) else item.encode(errors="replace")
    )
    return hashlib.sha256(content).digest()
