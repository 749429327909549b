"""`scenes`: made pictures of solid shapes that stand on a floor, with everything that can be known of them.

Every cue that a picture gives of depth is a true one: what is near is large, stands low, hides what is behind it, and
has fresh colours; what is far fades into the colour of the wall.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.data.rows import Rows
from twofold.errors import UserError

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {
    "red": (214, 52, 48),
    "green": (58, 160, 72),
    "blue": (56, 92, 214),
    "yellow": (228, 204, 60),
    "purple": (150, 66, 176),
    "turquoise": (64, 196, 196),
}
SIZES = {"small": 0.6, "large": 1.0}  # half of an object's height, in units of half a picture's, at depth 1
TEXTURES = ("plain", "striped", "checked")
CLASSES = ("background", *SHAPES)
"""Names of the values of `segmentation`."""

NEAREST, FARTHEST, WALL = 1.2, 3.6, 6.0
"""Depths of objects, and of the wall behind them; the floor begins at 1."""

_MOST = 4  # objects
_FADING = 0.3  # a unit of depth takes this share of what is left of a colour, about
_CHUNK = 256  # pictures drawn at a time

Floats = NDArray[np.float32]


def scenes(
    train: int = 2000,
    validation: int = 250,
    test: int = 250,
    side: int = 24,
    seed: int = 0,
    unseen: Collection[str] = (),
) -> Rows:
    """Pictures of one to four objects, some on a cluttered ground, and what is true of every pixel.

    Columns, a row for each picture:
        `image` uint8 `[side, side, 3]`; `segmentation` uint8 `[side, side]`, the shape that is seen (`CLASSES`, also
        in `class_names`); `depth` float32 `[side, side]`, from 1 (near) to 6 (the wall); `edges` bool `[side, side]`,
        where the pixel to the right or below belongs to something else; `instances` uint8 `[side, side]`, 0 or which
        object; `boxes` (x0, y0, x1, y1 in pixels, the ends excluded) and `objects` (as "small striped red circle") of
        the objects that are seen, from the left to the right; `order`, their numbers in `instances`; `text`, a caption;
        `label`, colour and shape of what fills most pixels; `id`.

    Args:
        train, validation, test: pictures in each part.
        side: pixels.
        seed: of everything.
        unseen: combinations such as "red circle" that only the test part has.

    Raises:
        UserError: a combination that there is not, or a side below 8.
    """
    combinations = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    if unknown := sorted(set(unseen) - set(combinations)):
        raise UserError(f"scenes: there is no {unknown[0]!r}; combinations are {', '.join(combinations)}")
    if side < 8:
        raise UserError(f"scenes: side is {side}; it must be at least 8 pixels")
    banned = np.array([[f"{colour} {shape}" in unseen for shape in SHAPES] for colour in COLOURS])
    if banned.all(0).any():
        raise UserError("scenes: a shape is unseen in every colour; leave one")
    columns: dict[str, list[Any]] = {}
    parts: list[str] = []
    for number, (part, count) in enumerate((("train", train), ("validation", validation), ("test", test))):
        for begin in range(0, count, _CHUNK):
            random = np.random.default_rng((seed, number, begin))
            n = min(_CHUNK, count - begin)
            for name, values in _drawn(random, n, side, banned & (part != "test")).items():
                columns.setdefault(name, []).extend(values)
            columns.setdefault("id", []).extend(f"{part}-{begin + i}" for i in range(n))
        parts += [part] * count
    columns["class_names"] = [list(CLASSES)] * len(parts)
    kept = f"-{'+'.join(sorted(unseen)).replace(' ', '-')}" if unseen else ""
    return Rows("scenes", columns, f"scenes-{train}-{validation}-{test}-{side}-{seed}{kept}", "made", parts)


def _drawn(random: np.random.Generator, n: int, side: int, banned: NDArray[np.bool_]) -> dict[str, Any]:
    """Pictures and what is true of them, as columns."""
    count = random.integers(1, _MOST + 1, n)
    shape = random.integers(0, len(SHAPES), (n, _MOST))
    colour = random.integers(0, len(COLOURS), (n, _MOST))
    for _ in COLOURS:
        colour = np.where(banned[colour, shape], (colour + 1) % len(COLOURS), colour)
    texture = random.integers(0, len(TEXTURES), (n, _MOST))
    size = random.integers(0, len(SIZES), (n, _MOST))
    depth = np.sort(random.uniform(NEAREST, FARTHEST, (n, _MOST)), axis=1)[:, ::-1]  # the farthest first
    across = random.uniform(0.1, 0.9, (n, _MOST))
    cluttered = random.random(n) < 0.5

    rows, cols = (np.arange(side, dtype=np.float64) + 0.5).reshape(1, -1, 1), np.arange(side) + 0.5
    horizon = side * random.uniform(0.15, 0.4, (n, 1, 1))
    below = np.clip((rows - horizon) / (side - horizon), 0.0, 1.0)
    z = np.broadcast_to(1 / (1 / WALL + below * (1 - 1 / WALL)), (n, side, side)).copy()
    wall = random.integers(90, 200, (n, 1, 1, 3)).astype(np.float64)
    floor = random.integers(60, 180, (n, 1, 1, 3)).astype(np.float64)
    picture = np.where((rows > horizon)[..., None], floor, wall) * np.ones((1, 1, side, 1))
    blocks = random.normal(0, 45, (n, -(-side // 3), -(-side // 3), 3)).repeat(3, 1).repeat(3, 2)[:, :side, :side]
    picture += blocks * cluttered[:, None, None, None]

    tints = np.array(list(COLOURS.values()), np.float64)
    halves = np.array(list(SIZES.values()))
    instance = np.zeros((n, side, side), np.uint8)
    for k in range(_MOST):
        near = depth[:, k].reshape(-1, 1, 1)
        half = halves[size[:, k]].reshape(-1, 1, 1) * side / 2 / near
        foot = horizon + (side - horizon) * (1 / near - 1 / WALL) / (1 - 1 / WALL)
        x = (cols - side * across[:, k].reshape(-1, 1, 1)) / half
        y = (rows - (foot - half)) / half  # -1 at the top, 1 at the foot
        inside = _inside(shape[:, k].reshape(-1, 1, 1), x, y) & (k < count).reshape(-1, 1, 1)
        tint = tints[colour[:, k]].reshape(-1, 1, 1, 3) * _shade(texture[:, k].reshape(-1, 1, 1), x, y)[..., None]
        picture = np.where(inside[..., None], tint, picture)
        z = np.where(inside, near, z)
        instance = np.where(inside, np.uint8(k + 1), instance)
    fade = np.exp(-_FADING * (z - 1))[..., None]
    picture = picture * fade + wall * (1 - fade) + random.normal(0, 6, picture.shape)

    edges = np.zeros((n, side, side), bool)
    edges[:, :, :-1] |= instance[:, :, 1:] != instance[:, :, :-1]
    edges[:, :-1] |= instance[:, 1:] != instance[:, :-1]
    names = np.concatenate([np.zeros((n, 1), np.int64), 1 + shape], 1)
    drawn = zip(size, texture, colour, shape, strict=True)
    said = [[_object(*each) for each in zip(*own, strict=True)] for own in drawn]
    seen = [_seen(instance[i]) for i in range(n)]
    objects = [[" ".join(own[j - 1]) for j in order] for own, (order, _, _) in zip(said, seen, strict=True)]
    shapes = np.take_along_axis(names, instance.reshape(n, -1).astype(np.int64), 1).reshape(instance.shape)
    most = [own[i - 1][2:] if i else ("nothing",) for own, (_, _, i) in zip(said, seen, strict=True)]
    return {
        "image": list(np.clip(np.rint(picture), 0, 255).astype(np.uint8)),
        "segmentation": list(shapes.astype(np.uint8)),
        "depth": list(z.astype(np.float32)),
        "edges": list(edges),
        "instances": list(instance),
        "boxes": [boxes for _, boxes, _ in seen],
        "objects": objects,
        "order": [order for order, _, _ in seen],
        "text": [_caption(own, bool(busy)) for own, busy in zip(objects, cluttered, strict=True)],
        "label": [" ".join(each) for each in most],
    }


def _inside(shape: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pixels an object covers; x and y are its own coordinates, from -1 to 1."""
    within = (abs(x) <= 1) & (abs(y) <= 1)
    forms = (
        x * x + y * y <= 1,
        (abs(x) <= 0.9) & (abs(y) <= 0.9),
        2 * abs(x) <= y + 1,
        (abs(x) <= 0.36) | (abs(y) <= 0.36),
    )
    return np.asarray(np.select([shape == i for i in range(len(forms))], forms, False) & within)


def _shade(texture: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of its colour an object shows at each pixel."""
    stripe = np.floor(x * 3) % 2
    checks = (stripe + np.floor(y * 3)) % 2
    return np.asarray(1 - 0.45 * np.select([texture == 1, texture == 2], [stripe, checks], 0.0))


def _object(size: int, texture: int, colour: int, shape: int) -> tuple[str, str, str, str]:
    return tuple(SIZES)[size], TEXTURES[texture], tuple(COLOURS)[colour], SHAPES[shape]


def _seen(instance: NDArray[np.uint8]) -> tuple[list[int], list[list[int]], int]:
    """Which objects can be seen, from the left; boxes around what is seen; which fills most pixels (0: none)."""
    found = []
    sizes = np.bincount(instance.ravel(), minlength=_MOST + 1)
    for each in range(1, _MOST + 1):
        if sizes[each]:
            rows, cols = np.nonzero(instance == each)
            found.append((each, [int(cols.min()), int(rows.min()), int(cols.max()) + 1, int(rows.max()) + 1]))
    found.sort(key=lambda pair: (pair[1][0] + pair[1][2], pair[0]))
    most = int(sizes[1:].argmax()) + 1 if sizes[1:].any() else 0
    return [each for each, _ in found], [box for _, box in found], most


def _caption(objects: list[str], cluttered: bool) -> str:
    """From the left to the right, and the ground."""
    listed = [f"a {each}" for each in objects] or ["nothing"]
    joined = ", ".join(listed[:-1]) + (" and " if len(listed) > 1 else "") + listed[-1]
    return f"{joined} on a {'cluttered' if cluttered else 'plain'} ground"
