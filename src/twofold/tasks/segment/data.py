"""Images with what is true of their pixels, each in one part, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from twofold import progress
from twofold.data import dense
from twofold.data.batches import Order
from twofold.data.cache import digest
from twofold.data.images import pixels
from twofold.data.rows import Rows, is_empty, listed
from twofold.data.splits import split
from twofold.errors import UserError
from twofold.tasks.segment.targets import Array, Classes, Marks, Numbers, Target

PARTS = ("train", "validation", "test")
Targets = Mapping[str, Target]
_MOST_CLASSES = 4096


@dataclass(frozen=True)
class SegmentData:
    """Images with values for every pixel.

    Args:
        name, source, fingerprint: of the data.
        images: uint8 `[n, height, width, channels]`.
        targets: what is asked of every pixel, by name.
        values: what is true, by the target's name, `[n, height, width]` as its `encode` gives it.
        parts: "train", "validation" or "test" of each image.
        notes: what a person should know.
    """

    name: str
    source: str
    fingerprint: str
    images: NDArray[np.uint8]
    targets: Targets
    values: Mapping[str, Array]
    parts: NDArray[np.str_]
    notes: tuple[str, ...] = ()

    modality: ClassVar[str] = "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        high, wide, channels = self.images.shape[1:]
        return high, wide, channels

    def indices(self, part: str) -> NDArray[np.int64]:
        """A part's images, by index (UserError where it has none)."""
        found = np.flatnonzero(self.parts == part)
        if not len(found):
            raise UserError(f"{self.name}: no {part} images; give more, or a folder or column that says which are")
        return found

    def take(self, index: Array) -> SegmentBatch:
        """Those images, as a network takes them."""
        images = torch.from_numpy(self.images[index].astype(np.float32) / 255)
        values = {name: torch.from_numpy(own[index]) for name, own in self.values.items()}
        return SegmentBatch(images, values, self.targets)

    def cut(self, share: float) -> SegmentData:
        """About that share of each part, at least 8 of it, always the same ones."""
        keep: list[int] = []
        for part in PARTS:
            members = np.random.default_rng(0).permutation(np.flatnonzero(self.parts == part))
            keep += sorted(members[: max(8, round(len(members) * share))].tolist())
        values = {name: own[keep] for name, own in self.values.items()}
        return replace(self, images=self.images[keep], values=values, parts=self.parts[keep])


@dataclass(frozen=True)
class SegmentBatch:
    """Images between 0 and 1, the values of their pixels by target, and the targets."""

    images: Float[Tensor, "batch height width channels"]
    values: Mapping[str, Tensor]
    targets: Targets

    @property
    def tokens(self) -> int:
        """Images."""
        return len(self.images)

    def shard(self, rank: int, world: int) -> SegmentBatch:
        """One process's share."""
        return replace(
            self, images=self.images[rank::world], values={n: v[rank::world] for n, v in self.values.items()}
        )

    def to(self, device: torch.device) -> SegmentBatch:
        """The same on another device."""
        return replace(self, images=self.images.to(device), values={n: v.to(device) for n, v in self.values.items()})


@dataclass(frozen=True)
class SegmentBatches:
    """Batches of the training part, epoch after epoch; pure in the step."""

    data: SegmentData
    train: NDArray[np.int64]
    order: Order

    @classmethod
    def of(cls, data: SegmentData, size: int, seed: int) -> SegmentBatches:
        """Batches of `size` images in an order that the seed decides."""
        train = data.indices("train")
        return cls(data, train, Order(len(train), min(size, len(train)), seed))

    def __call__(self, step: int, progress: float) -> SegmentBatch:
        return self.data.take(self.train[self.order(step)])


def from_rows(rows: Rows) -> SegmentData:
    """Data from rows with `image` and any of `segmentation`, `depth` and `edges`; their own parts are kept.

    Cells are paths or arrays; those of the three may be empty.

    Raises:
        UserError: a column is missing, files cannot be read, or nothing is labelled in the training part.
    """
    rows.require("image")
    asked = [name for name in dense.NAMES if name in rows.columns]
    if not asked:
        raise UserError(
            f"{rows.source} says nothing of pixels (found: {listed(rows.columns)}; wanted: any of "
            f"{listed(dense.NAMES)}); give a folder with images/ and such folders beside it, or rename with --columns "
            "segmentation=YOUR_COLUMN"
        )
    paths = beside(rows, rows.columns["image"])
    shape = dense.shape_of(paths)
    images = pixels(paths, shape)
    found: dict[str, list[Array | None]] = {}
    for name in asked:
        cells, read = beside(rows, rows.columns[name]), dense.READ[name]
        with progress.stage(f"read {name}", total=len(cells)) as stage:
            found[name] = []
            for cell in cells:
                found[name].append(None if _blank(cell) else read(cell, shape[:2]))
                stage.advance()
    keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    fingerprint = rows.fingerprint
    if any(isinstance(path, str | Path) for path in paths):
        content = [b"" if own is None else own.tobytes() for values in found.values() for own in values]
        fingerprint = f"images-{digest(*keys, *content)[:16]}"
    if rows.splits is None and "group" not in rows.columns:
        rows = replace(rows, columns={**rows.columns, "group": keys})
    parts = np.array(split(rows).splits, dtype="<U10")
    targets, values, notes = {}, {}, []
    for name, own in found.items():
        train = [each for each, part in zip(own, parts, strict=True) if each is not None and part == "train"]
        targets[name] = _target(rows, name, train)
        values[name] = encode(targets[name], own, shape[:2])
        if lacking := sum(each is None for each in own):
            notes.append(f"{lacking} of {len(own)} images have no {name} and do not count there")
    return SegmentData(rows.name, rows.source, fingerprint, images, targets, values, parts, tuple(notes))


def encode(target: Target, found: Sequence[Array | None], shape: tuple[int, int]) -> Array:
    """What was read of many images, as a target's values `[n, height, width]`."""
    return np.stack([target.unlabelled(shape) if own is None else target.encode(own) for own in found])


def fitting(rows: Rows, shape: tuple[int, int, int], targets: Targets) -> SegmentBatch:
    """Rows as a model with those targets takes them: at its size, with its classes.

    Raises:
        UserError: no images, or nothing that the model predicts.
    """
    rows.require("image")
    asked = [name for name in targets if name in rows.columns]
    if not asked:
        raise UserError(f"{rows.source} has none of {listed(targets)}, which the model predicts; give what it learned")
    images = pixels(beside(rows, rows.columns["image"]), shape)
    values = {}
    for name in asked:
        cells = beside(rows, rows.columns[name])
        found = [None if _blank(cell) else dense.READ[name](cell, shape[:2]) for cell in cells]
        values[name] = torch.from_numpy(encode(targets[name], found, shape[:2]))
    return SegmentBatch(
        torch.from_numpy(images.astype(np.float32) / 255), values, {name: targets[name] for name in asked}
    )


def _target(rows: Rows, name: str, train: Sequence[Array]) -> Target:
    if not train:
        raise UserError(f"{rows.source}: no training image has {name}; label some, or leave the column out")
    if name == "segmentation":
        return _classes(rows, np.unique(np.concatenate([np.unique(own) for own in train])))
    if name == "edges":
        share = float(np.nanmean([np.nanmean(own) for own in train]))
        return Marks(round(((1 - share) / share) ** 0.5, 4) if share > 0 else 1.0)
    every = np.concatenate([own[~np.isnan(own)] for own in train]).astype(np.float64)
    if not len(every):
        raise UserError(f"{rows.source}: no training pixel has {name} (0 in an image means that it was not measured)")
    return Numbers(float(every.mean()), float(every.std()) or 1.0)


def _classes(rows: Rows, there: Array) -> Classes:
    values = [int(v) for v in there if v >= 0]
    named = next(iter(rows.columns.get("class_names", ())), None)
    if named:
        if values and max(values) >= len(named):
            raise UserError(
                f"{rows.source}: {len(named)} classes are named, from 0, and a class map says {max(values)}; "
                "name every class"
            )
        return Classes(tuple(str(each) for each in named), tuple(range(len(named))))
    if len(values) < 2:
        raise UserError(f"{rows.source}: the class maps show {len(values)} classes; there must be at least two")
    if len(values) > _MOST_CLASSES:
        raise UserError(
            f"{rows.source}: the class maps show {len(values):,} different values; they are no classes "
            "(JPEG files blur them: use PNG)"
        )
    colours = max(values) > 255
    return Classes(tuple(f"#{v:06x}" if colours else str(v) for v in values), tuple(values))


def beside(rows: Rows, cells: Sequence[Any]) -> list[Any]:
    """Cells as they are, and paths that are looked for beside the data's file where they are not absolute."""
    place = Path(rows.source).parent

    def found(cell: Any) -> Any:
        if not isinstance(cell, str) or not cell.strip() or Path(cell).is_absolute() or Path(cell).exists():
            return cell
        return str(place / cell)

    return [found(cell) for cell in cells]


def _blank(cell: Any) -> bool:
    return not isinstance(cell, np.ndarray | list) and is_empty(cell)
