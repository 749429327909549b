"""What is asked of every pixel: its class, a number such as its depth, or whether it is marked.

Each kind knows how many numbers a network gives for a pixel, their loss, how they become answers, figures and files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from twofold.measure import dense as measure
from twofold.objectives import IGNORED, Loss
from twofold.objectives import dense as losses
from twofold.tasks.kinds import of_kind

Array = NDArray[Any]


class Target(ABC):
    """What is predicted at every pixel. Answers are arrays `[n, height, width]`.

    Attributes:
        kind: its name in a saved model.
        figure: the main figure; more is better.
        relative: the figure that is divided by another model's (and whether less of it is better).
        ending: of the files that answers are written to.
    """

    kind: ClassVar[str]
    figure: ClassVar[str]
    relative: ClassVar[tuple[str, bool]]
    ending: ClassVar[str] = ".png"

    @property
    def outputs(self) -> int:
        """Numbers that a network gives for a pixel."""
        return 1

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What it takes to make it again, JSON-able, with `kind`."""

    @abstractmethod
    def encode(self, found: Array) -> Array:
        """What was read of one image, `[height, width]`, as training takes it."""

    @abstractmethod
    def unlabelled(self, shape: tuple[int, int]) -> Array:
        """What stands for an image without labels."""

    @abstractmethod
    def loss(self, outputs: Tensor, values: Tensor) -> Loss:
        """The loss of outputs `[B, outputs, height, width]` against encoded values `[B, height, width]`."""

    @abstractmethod
    def decode(self, outputs: Array) -> Array:
        """Answers from outputs `[n, outputs, height, width]`."""

    @abstractmethod
    def usual(self, values: Array) -> Array:
        """Outputs `[outputs, height, width]` of what is most usual at each place, of encoded values `[n, …]`."""

    @abstractmethod
    def judge(self, answers: Array, values: Array) -> tuple[dict[str, float], Array]:
        """Figures of answers against encoded values, and the main figure of each image (NaN: no label)."""

    @abstractmethod
    def summary(self, answer: Array) -> str:
        """One image's answer `[height, width]` in a few words."""

    @abstractmethod
    def image(self, answer: Array) -> Any:
        """One image's answer as a Pillow image, in the terms of the data that were learned from."""

    @staticmethod
    def of(spec: Mapping[str, Any]) -> Target:
        """The target that a spec describes."""
        kinds: tuple[type[Target], ...] = (Classes, Numbers, Marks)
        return of_kind(spec, kinds)


@dataclass(frozen=True)
class Classes(Target):
    """One of several classes.

    Args:
        labels: the classes' names.
        values: what stands for each in a class map; colours are above 255.
    """

    labels: tuple[str, ...]
    values: tuple[int, ...]
    kind: ClassVar[str] = "classes"
    figure: ClassVar[str] = "miou"
    relative: ClassVar[tuple[str, bool]] = ("miou", False)

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "labels": list(self.labels), "values": list(self.values)}

    def encode(self, found: Array) -> Array:
        known = np.array(self.values)
        order = np.argsort(known)
        place = np.minimum(np.searchsorted(known[order], found), len(known) - 1)
        index = order[place]
        return np.where(known[index] == found, index, IGNORED).astype(np.int64)

    def unlabelled(self, shape: tuple[int, int]) -> Array:
        return np.full(shape, IGNORED, np.int64)

    def loss(self, outputs: Tensor, values: Tensor) -> Loss:
        return losses.pixel_classes(outputs, values)

    def decode(self, outputs: Array) -> Array:
        return outputs.argmax(1).astype(np.int64)

    def usual(self, values: Array) -> Array:
        return np.stack([(values == i).mean(0) for i in range(len(self.labels))])

    def judge(self, answers: Array, values: Array) -> tuple[dict[str, float], Array]:
        return measure.class_maps(answers, values, len(self.labels))

    def summary(self, answer: Array) -> str:
        shares = np.bincount(answer.ravel(), minlength=len(self.labels)) / answer.size
        most = [i for i in np.argsort(-shares, kind="stable")[:4] if shares[i] > 0]
        return ", ".join(f"{self.labels[i]} {shares[i]:.0%}" for i in most)

    def image(self, answer: Array) -> Any:
        from PIL import Image

        raw = np.array(self.values)[answer]
        if max(self.values) <= 255:
            made = Image.fromarray(raw.astype(np.uint8))
            made.putpalette(_palette())
            return made
        return Image.fromarray(np.stack([raw >> 16, raw >> 8 & 255, raw & 255], -1).astype(np.uint8))


@dataclass(frozen=True)
class Numbers(Target):
    """A number.

    Args:
        mean, deviation: of the training part's pixels; what a network gives is in units of these.
    """

    mean: float
    deviation: float
    kind: ClassVar[str] = "numbers"
    figure: ClassVar[str] = "r2"
    relative: ClassVar[tuple[str, bool]] = ("rmse", True)
    ending: ClassVar[str] = ".tiff"  # which holds any number as it is

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "mean": self.mean, "deviation": self.deviation}

    def encode(self, found: Array) -> Array:
        return found.astype(np.float32)

    def unlabelled(self, shape: tuple[int, int]) -> Array:
        return np.full(shape, np.nan, np.float32)

    def loss(self, outputs: Tensor, values: Tensor) -> Loss:
        return losses.pixel_numbers(outputs, (values - self.mean) / self.deviation)

    def decode(self, outputs: Array) -> Array:
        return (outputs[:, 0] * self.deviation + self.mean).astype(np.float32)

    def usual(self, values: Array) -> Array:
        known = ~np.isnan(values)
        mean = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        return (np.where(known.any(0), (mean - self.mean) / self.deviation, 0.0))[None]

    def judge(self, answers: Array, values: Array) -> tuple[dict[str, float], Array]:
        return measure.number_maps(answers, values)

    def summary(self, answer: Array) -> str:
        return f"{answer.min():.4g} to {answer.max():.4g}"

    def image(self, answer: Array) -> Any:
        from PIL import Image

        return Image.fromarray(answer.astype(np.float32))


@dataclass(frozen=True)
class Marks(Target):
    """Marked or not.

    Args:
        weight: how much a marked pixel counts in training, against 1 for others. Where few are marked, an answer of the
            best F1 marks pixels that are less likely marked than not; the root of how many others there are to each
            does that, about.
    """

    weight: float = 1.0
    kind: ClassVar[str] = "marks"
    figure: ClassVar[str] = "f1"
    relative: ClassVar[tuple[str, bool]] = ("f1", False)

    def spec(self) -> dict[str, Any]:
        return {"kind": self.kind, "weight": self.weight}

    def encode(self, found: Array) -> Array:
        return found.astype(np.float32)

    def unlabelled(self, shape: tuple[int, int]) -> Array:
        return np.full(shape, np.nan, np.float32)

    def loss(self, outputs: Tensor, values: Tensor) -> Loss:
        return losses.pixel_marks(outputs, values, self.weight)

    def decode(self, outputs: Array) -> Array:
        return np.asarray(outputs[:, 0] > 0)

    def usual(self, values: Array) -> Array:
        known = ~np.isnan(values)
        return (np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1) - 0.5)[None]

    def judge(self, answers: Array, values: Array) -> tuple[dict[str, float], Array]:
        return measure.mark_maps(answers, values)

    def summary(self, answer: Array) -> str:
        return f"{answer.mean():.0%} marked"

    def image(self, answer: Array) -> Any:
        from PIL import Image

        return Image.fromarray(answer.astype(np.uint8) * 255)


def write(target: Target, answer: Array, stem: Path) -> Path:
    """Writes one image's answer beside the name `stem`, with the target's ending; whole or not at all."""
    path = stem.with_name(stem.name + target.ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.part")
    target.image(answer).save(half, format=target.ending.removeprefix(".").upper())
    half.replace(path)
    return path


def _palette() -> list[int]:
    """Colours by which the classes of a class map can be told apart, 0 being black."""
    ids = np.arange(256)
    bits = [[(ids >> (3 * i + channel)) & 1 for i in range(3)] for channel in range(3)]
    rgb = np.stack([sum(b << (7 - i) for i, b in enumerate(own)) for own in bits], 1)
    return [int(x) for x in rgb.ravel()]
