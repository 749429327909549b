"""Images: a folder with a sub-folder for each class, and pixels of one size from files or arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from twofold import progress
from twofold.data.columns import Table
from twofold.data.rows import listed
from twofold.data.splits import part_name
from twofold.errors import UserError

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
SIDE = 32
"""Longest side, in pixels, at which images are kept for systems that read pixels."""


def is_image(path: Path) -> bool:
    """Whether a file is an image, by its name."""
    return path.suffix.casefold() in ENDINGS


def class_folders(folder: Path) -> list[tuple[Path, str | None]]:
    """The sub-folders that hold images, each with its part where it lies in `train/`, `test/` and the like.

    Empty where `folder` is no folder of images: none has images right below it.
    """
    inside = _folders(folder)
    parts = [(each, part) for each in inside if (part := part_name(each.name))]
    if parts and len(parts) == len(inside) and "train" in {part for _, part in parts}:
        found: list[tuple[Path, str | None]] = []
        for each, part in parts:
            found += [(path, part) for path in _folders(each) if _images(path)]
        if found:
            return found
    return [(each, None) for each in inside if _images(each)]


def read_image_folder(folder: Path, classes: Sequence[tuple[Path, str | None]]) -> tuple[Table, list[str] | None]:
    """Rows with the columns `image` (a path) and `label` (the name of the sub-folder), and their parts.

    Files that are no images are left out with a warning that counts them.
    """
    paths, labels, parts, others = [], [], [], []
    for place, part in classes:
        every = sorted(each for each in place.iterdir() if each.is_file() and not each.name.startswith("."))
        images = [each for each in every if is_image(each)]
        others += [each for each in every if not is_image(each)]
        paths += [str(each) for each in images]
        labels += [place.name] * len(images)
        parts += [part] * len(images)
    others += [e for e in folder.iterdir() if e.is_file() and not e.name.startswith(".")]
    if others:
        names = listed(str(each.relative_to(folder)) for each in sorted(others)[:3])
        warnings.warn(f"{folder}: {len(others)} files are no images and are left out ({names})", stacklevel=2)
    splits = [str(part) for part in parts] if all(part is not None for part in parts) else None
    return {"image": paths, "label": labels}, splits


def pixels(images: Sequence[Any], shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Images as one array of bytes, `[n, height, width, channels]`.

    Args:
        images: paths, or uint8 arrays `[H, W]` or `[H, W, C]` (1 or 3 channels).
        shape: (height, width, channels) to bring them to; None: that of the images if all are alike and no side is
            longer than `SIDE`, else `SIDE` on both sides, grey only if all are.

    Raises:
        UserError: a file that is not there or no image, or an array of another kind; names it.
    """
    opened = []
    with progress.stage(f"read {len(images):,} images", total=len(images)) as stage:
        for number, image in enumerate(images):
            opened.append(_opened(image, number, shape))
            stage.advance()
    if not opened:
        return np.zeros((0, *(shape or (SIDE, SIDE, 1))), np.uint8)
    if shape is None:
        sizes = {each.shape[:2] for each in opened}
        high, wide = max(s[0] for s in sizes), max(s[1] for s in sizes)
        side = (high, wide) if len(sizes) == 1 and max(high, wide) <= SIDE else (SIDE, SIDE)
        shape = (*side, max(each.shape[2] for each in opened))
    return np.stack([_fitted(each, shape) for each in opened])


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """A Pillow image. Its file's beginning is read at once, its pixels when they are asked for.

    Raises:
        UserError: no such file, or what was read of it is no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"there is no image {path}; check the path") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{path} is not an image that can be read ({reason}); remove or replace it") from None


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))


def _images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_file() and is_image(Path(entry.name)) for entry in entries)


def _opened(image: Any, number: int, shape: tuple[int, int, int] | None) -> np.ndarray:
    if isinstance(image, np.ndarray | list):
        array = np.asarray(image)
        array = array[..., None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[2] not in (1, 3) or not np.issubdtype(array.dtype, np.integer):
            raise UserError(
                f"image {number + 1} is an array of {array.dtype} {list(np.shape(image))}; give whole numbers from 0 "
                "to 255, [height, width] or [height, width, 3]"
            )
        return np.clip(array, 0, 255).astype(np.uint8)
    from PIL import Image

    with opened(image) as file:
        file.draft("RGB", (2 * SIDE, 2 * SIDE))  # JPEG files are then read small at once
        grey = file.mode in ("1", "L", "LA", "I", "I;16", "F")
        picture = file.convert("L" if grey else "RGB")
        size = (shape[1], shape[0]) if shape else (SIDE, SIDE)
        if shape is not None or max(picture.size) > SIDE:
            picture = picture.resize(size, Image.Resampling.BOX if min(picture.size) >= SIDE else None)
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array


def _fitted(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    high, wide, channels = shape
    if array.shape[:2] != (high, wide):
        from PIL import Image

        picture = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
        array = np.asarray(picture.resize((wide, high), Image.Resampling.BOX))
        array = array[..., None] if array.ndim == 2 else array
    if array.shape[2] == channels:
        return array
    if channels == 3:
        return np.repeat(array, 3, axis=2)
    luma = array @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma)[..., None].astype(np.uint8)
