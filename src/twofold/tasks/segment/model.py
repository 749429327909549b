"""Models that answer for every pixel of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from twofold import computing, progress
from twofold.data import dense
from twofold.data.images import pixels
from twofold.errors import UserError
from twofold.measure import costs
from twofold.parts import SlimNetwork
from twofold.surgery import width_search
from twofold.tasks.model import Model
from twofold.tasks.segment.data import SegmentBatch, SegmentData, Targets
from twofold.tasks.segment.targets import Array, Target, write

_IMAGES = 128  # at a time


class SegmentModel(Model):
    """A network from images `[B, height, width, channels]` to numbers `[B, outputs, height, width]` by target.

    The task's settings: `targets` (what is predicted, as `Target.spec` has it, by name) and `input` (`kind` "image" and
    the images' `shape`).
    """

    task: ClassVar[str] = "segment"

    @property
    def targets(self) -> dict[str, Target]:
        """What it predicts, by name."""
        return {name: Target.of(spec) for name, spec in self.spec["targets"].items()}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels at which its network sees images."""
        high, wide, channels = self.spec["input"]["shape"]
        return high, wide, channels

    def costs(self) -> dict[str, float]:
        """Also `flops`, multiplications and additions for one image."""
        example = torch.zeros(1, *self.shape, device=self.device)
        return {**super().costs(), "flops": float(costs.flops(self.net, example))}

    def answers(self, images: NDArray[np.uint8]) -> dict[str, Array]:
        """Answers `[n, height, width]` by target, at the network's size, for images uint8 of that size."""
        net, targets = self.net.eval(), self.targets
        found: dict[str, list[Array]] = {name: [] for name in targets}
        with progress.stage(f"predict {len(images):,} images", total=len(images)) as stage:
            for begin in range(0, len(images), _IMAGES):
                some = torch.from_numpy(images[begin : begin + _IMAGES].astype(np.float32) / 255)
                with computing.inference():
                    made = net(some.to(self.device))
                for name, target in targets.items():
                    found[name].append(target.decode(made[name].float().cpu().numpy()))
                stage.advance(len(some))
        return {name: np.concatenate(own) for name, own in found.items()}

    def predict(self, inputs: Any) -> Any:
        """What every pixel is: by target, an array `[height, width]` of the image's own size.

        Classes come as their numbers, in the order of the target's labels.

        Args:
            inputs: a path or an array uint8 `[height, width]` or `[height, width, channels]`, or many of them.

        Returns:
            One such mapping for a single image, else a list.

        Raises:
            UserError: no image, or one that cannot be read; names it.
        """
        single = isinstance(inputs, str | Path) or (isinstance(inputs, np.ndarray) and inputs.ndim == 2)
        single = single or (isinstance(inputs, np.ndarray) and inputs.ndim == 3 and inputs.shape[2] in (1, 3))
        many: list[Any] = [inputs] if single else list(inputs)
        if not many:
            raise UserError("nothing to predict: there is no image")
        found = self.answers(pixels(many, self.shape))
        sizes = [dense.size(each)[:2] for each in many]
        answers = [{name: dense.resized(own[i], size) for name, own in found.items()} for i, size in enumerate(sizes)]
        return answers[0] if single else answers

    def write(self, inputs: Sequence[str | Path], folder: str | Path) -> list[Path]:
        """Writes what `predict` says of image files as images, in a sub-folder for each target, named like the inputs.

        Class maps have the values, and numbers (32-bit floats in TIFF files) the units, of the data that were learned
        from; marked pixels are white. Such a folder, with the images in `images/`, is data again.

        Raises:
            UserError: two inputs of one name, or the folder cannot be written.
        """
        stems = [Path(each).stem for each in inputs]
        if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
            raise UserError(f"several images are called {twice[0]!r}, and their answers would be one file; rename them")
        place, written = Path(folder), []
        targets = self.targets
        for stem, answer in zip(stems, self.predict(list(inputs)), strict=True):
            written += [write(targets[name], own, place / name / stem) for name, own in answer.items()]
        return written

    def losses(self, batch: SegmentBatch) -> dict[str, float]:
        """The loss of each target on a batch, at the network's present widths."""
        targets = self.targets
        with computing.inference():
            made = self.net.eval()(batch.images.to(self.device))
            return {n: float(targets[n].loss(made[n], own.to(self.device)).value) for n, own in batch.values.items()}

    def configure(
        self, budget: float, preference: Mapping[str, float] | None = None, *, data: SegmentBatch | SegmentData
    ) -> Self:
        """A smaller model that spends a share of the operations, most of them on what matters most.

        Args:
            budget: the share of the full network's operations that may be spent, in (0, 1].
            preference: how much each target matters, at least 0; None: all alike. What is left out matters nothing.
            data: some labelled images to judge widths by, or data, of which the first 64 training images are taken.

        Raises:
            UserError: a network of one width, an unknown target, or a budget below the smallest network (says how much
                that needs).
        """
        net = self.net
        if not isinstance(net, SlimNetwork) or net.widths < 2:
            raise UserError(f"{self.name} has one width only; train a network of several, such as ecmt")
        batch = data.take(data.indices("train")[:64]) if isinstance(data, SegmentData) else data
        wanted = dict.fromkeys(self.targets, 1.0) if preference is None else dict(preference)
        before = net.configuration
        try:
            net.width = net.widths - 1
            full = self.losses(batch)

            def score() -> float:
                # In units of what the full network loses, so that targets weigh as they are meant to.
                now = self.losses(batch)
                return -sum(wanted.get(name, 0.0) * now[name] / max(full[name], 1e-8) for name in now)

            chosen = width_search(net, self.shape[:2], budget, wanted, score)
            small = net.sliced(chosen)
        finally:
            net.configure(before)
        made = type(self)(small, self.tokenizer, self.spec, self.history, self.notes)
        full_cost = net.flops([net.widths - 1] * len(chosen), self.shape[:2])
        report = {
            "widths": list(chosen),
            "compute": round(net.flops(chosen, self.shape[:2]) / full_cost, 4),
            "parameters": made.parameters,
        }
        return made.remember("configure", {"budget": budget, "preference": wanted}, report)


def settings(targets: Targets, shape: Sequence[int]) -> dict[str, Any]:
    """The task's settings of a model for images of that shape."""
    specs = {name: target.spec() for name, target in targets.items()}
    return {"targets": specs, "input": {"kind": "image", "shape": [int(n) for n in shape]}}
