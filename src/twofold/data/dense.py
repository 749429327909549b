"""Images with an answer for every pixel: folders of them, and their files as arrays of one size.

    folder/images/a.png         folder/train/images/a.png       folder/a.png
           segmentation/a.png          train/segmentation/a.png        a_segmentation.png
           depth/a.png                 test/images/b.png               a_depth.png

An image without a file for some task has no label there. `classes.txt` beside them names the classes, a line each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.data.columns import Table
from twofold.data.images import is_image, opened
from twofold.data.splits import part_name
from twofold.errors import UserError

SIDE = 64
"""Longest side, in pixels, at which images are kept where every pixel has an answer."""

NAMES = {
    "segmentation": ("segmentation", "segmentations", "mask", "masks", "labels", "classes"),
    "depth": ("depth", "depths"),
    "edges": ("edges", "edge"),
}
"""What is asked of a pixel, by the column's name, and what people call its folder or the end of its files' names."""

UNLABELLED = 255
"""The value of pixels in a class map that nobody has labelled, but where 0 and 255 are its only values."""

_CALLED = {called: column for column, names in NAMES.items() for called in names}


def read_dense_folder(folder: Path) -> tuple[Table, list[str] | None] | None:
    """Rows `image`, the answers' paths by column (None where there is none) and `id`, with their parts where the folder
    has them; None where it is no such folder.

    Files of answers without an image are left out with a warning that counts them.

    Raises:
        UserError: an answer that two files give.
    """
    inside = [each for each in _folders(folder) if each.name.casefold() != "classes"]
    named = [(each, part) for each in inside if (part := part_name(each.name))]
    if named and len(named) == len(inside) and "train" in {part for _, part in named}:
        tables = [(found, part) for each, part in named if (found := _pairs(each))]
        if not tables:
            return None
        rows = [(row, part) for table, part in tables for row in table]
    else:
        rows = [(row, "") for row in _pairs(folder) or ()]
    if not rows:
        return None
    columns = ["image", *(column for column in NAMES if any(column in row for row, _ in rows))]
    table: Table = {column: [row.get(column) for row, _ in rows] for column in columns}
    table["id"] = [Path(row["image"]).relative_to(folder).with_suffix("").as_posix() for row, _ in rows]
    if (folder / "classes.txt").is_file():
        lines = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
        table["class_names"] = [[line.strip() for line in lines if line.strip()]] * len(rows)
    parts = [part for _, part in rows]
    return table, parts if all(parts) else None


def _pairs(folder: Path) -> list[dict[str, str]] | None:
    """Images with the paths of their answers, by column; None where no image has any."""
    by_folder = {each.name.casefold(): each for each in _folders(folder)}
    answers: dict[str, dict[str, Path]] = {}
    if "images" in by_folder:
        images = _images(by_folder["images"])
        for called, place in by_folder.items():
            if called in _CALLED:
                own = answers.setdefault(_CALLED[called], {})
                for name, path in _images(place).items():
                    _add(own, name, path)
    else:
        images = {}
        for name, path in _images(folder).items():
            stem, _, last = name.rpartition("_")
            if stem and last.casefold() in _CALLED:
                _add(answers.setdefault(_CALLED[last.casefold()], {}), stem, path)
            else:
                images[name] = path
    alone = sum(name not in images for own in answers.values() for name in own)
    if not any(name in images for own in answers.values() for name in own):
        return None
    if alone:
        warnings.warn(f"{folder}: {alone} files with answers have no image of that name and are left out", stacklevel=2)
    return [
        {"image": str(path)} | {column: str(own[name]) for column, own in answers.items() if name in own}
        for name, path in sorted(images.items())
    ]


def _add(own: dict[str, Path], name: str, path: Path) -> None:
    if name in own:
        raise UserError(f"{own[name]} and {path} answer the same for one image; keep one of them")
    own[name] = path


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))


def _images(folder: Path) -> dict[str, Path]:
    return {each.stem: each for each in sorted(folder.iterdir()) if each.is_file() and is_image(each)}


def shape_of(images: Sequence[Any]) -> tuple[int, int, int]:
    """The (height, width, channels) at which to keep images, paths or arrays: their own where all are alike and no side
    is above `SIDE`; scaled to `SIDE` where they are alike and larger; else `SIDE` on both sides. Grey only if all are.

    Raises:
        UserError: a file that is not there or no image.
    """
    sizes, channels = set(), 1
    for image in images:
        high, wide, many = size(image)
        sizes.add((high, wide))
        channels = max(channels, many)
    if len(sizes) != 1:
        return SIDE, SIDE, channels
    high, wide = sizes.pop()
    scale = min(1.0, SIDE / max(high, wide))
    return max(1, round(high * scale)), max(1, round(wide * scale)), channels


def size(image: Any) -> tuple[int, int, int]:
    """Height, width and channels (1 or 3) of an image, a path or an array."""
    if not isinstance(image, str | Path):
        shape = np.shape(image)
        return shape[0], shape[1], 1 if len(shape) == 2 else shape[2]
    with opened(image) as file:
        grey = file.mode in ("1", "L", "LA", "I", "I;16", "F")
        return file.height, file.width, 1 if grey else 3


def class_map(cell: Any, shape: tuple[int, int]) -> NDArray[np.int64]:
    """The value of every pixel of a class map, -1 where it has none: `[height, width]`.

    A colour image's values are its colours, red · 65536 + green · 256 + blue.

    Raises:
        UserError: a cell that is no class map.
    """
    array = _array(cell)
    if array.ndim == 3 and array.shape[2] in (3, 4) and np.issubdtype(array.dtype, np.integer):
        array = array[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    elif array.ndim != 2 or not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        raise UserError(f"{_named(cell)} is no class map; give whole numbers [height, width], or a colour a class")
    elif not set(np.unique(array)) <= {0, UNLABELLED}:
        array = np.where(array == UNLABELLED, -1, array.astype(np.int64))
    return np.maximum(_nearest(array.astype(np.int64), shape), -1)


def numbers(cell: Any, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The number at every pixel, such as its depth: `[height, width]`, NaN where it has none (0 in a file)."""
    array = _array(cell)
    if array.ndim != 2:
        raise UserError(f"{_named(cell)} has {array.ndim} axes; depth is one number a pixel, as in a grey image")
    found = array.astype(np.float32)
    if isinstance(cell, str | Path):
        found = np.where(found == 0, np.float32(np.nan), found)
    return _nearest(found, shape)


def marks(cell: Any, shape: tuple[int, int]) -> NDArray[np.float32]:
    """1 at every pixel that is marked, else 0: `[height, width]`. A mark stays one, however much the image shrinks."""
    array = _array(cell)
    array = array.max(2) if array.ndim == 3 else array
    marked = array > (127 if isinstance(cell, str | Path) and array.max(initial=0) > 1 else 0)
    high, wide = shape
    if high > marked.shape[0] or wide > marked.shape[1]:
        return _nearest(marked, shape).astype(np.float32)
    rows = np.maximum.reduceat(marked, np.arange(high) * marked.shape[0] // high, axis=0)
    return np.maximum.reduceat(rows, np.arange(wide) * marked.shape[1] // wide, axis=1).astype(np.float32)


READ: dict[str, Callable[[Any, tuple[int, int]], NDArray[Any]]] = {
    "segmentation": class_map,
    "depth": numbers,
    "edges": marks,
}
"""How a cell of a column is read: paths or arrays → `[height, width]`."""


def resized(answer: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """An answer `[height, width]` at another size: numbers between their neighbours, anything else the nearest."""
    if answer.shape == shape or not np.issubdtype(answer.dtype, np.floating):
        return answer if answer.shape == shape else _nearest(answer, shape)
    from PIL import Image

    high, wide = shape
    return np.asarray(Image.fromarray(answer).resize((wide, high), Image.Resampling.BILINEAR))


def _array(cell: Any) -> NDArray[Any]:
    if not isinstance(cell, str | Path):
        return np.asarray(cell)
    with opened(cell) as file:
        image = file.convert("L") if file.mode in ("1", "LA") else file
        return np.asarray(image)  # of a palette its numbers


def _nearest(array: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """The value at the middle of each pixel of another size."""
    places = [((2 * np.arange(n) + 1) * m) // (2 * n) for n, m in zip(shape, array.shape, strict=True)]
    return array[np.ix_(*places)]


def _named(cell: Any) -> str:
    return str(cell) if isinstance(cell, str | Path) else f"an array of {np.asarray(cell).dtype} {list(np.shape(cell))}"
