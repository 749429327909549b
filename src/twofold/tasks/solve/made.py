"""Made sequences with known answers as data: what is trained on is made afresh for every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from twofold.data.cache import digest
from twofold.measure.costs import context_costs
from twofold.parts import Mask, SequenceModel
from twofold.tasks.model import Model
from twofold.tasks.task import Evaluation

_TRAIN, _VALIDATION, _TEST = range(3)
JUDGED = 512  # sequences in the test part; a quarter of it in validation


@dataclass(frozen=True)
class MadeData(ABC):
    """A kind of made sequence, with its settings. Subclasses say what a batch is, and how answers are judged.

    Args:
        made: what makes them.
        share: of the sequences that are judged.
    """

    made: Any
    share: float = 1.0
    metric: ClassVar[str]

    @abstractmethod
    def batch(self, given: np.ndarray, answers: np.ndarray) -> Any:
        """What `made` gave, as a batch that has its `loss`."""

    @abstractmethod
    def start(self, network: Callable[[int], SequenceModel]) -> MadeModel:
        """A model with fresh weights; `network(vocab)` makes a network that reads ids."""

    @abstractmethod
    def evaluate(self, model: Any, part: str) -> Evaluation:
        """Figures on the validation part or the test part."""

    @property
    def name(self) -> str:
        return str(self.made.name)

    @property
    def length(self) -> int:
        """Tokens in a sequence."""
        return int(self.made.length)

    def part(self, part: str) -> Any:
        """The validation part or the test part, the same every time."""
        stream = _VALIDATION if part == "validation" else _TEST if part == "test" else _TRAIN
        count = max(8, round(self.share * (JUDGED if stream == _TEST else JUDGED // 4)))
        return self.batch(*self.made.sample(count, np.random.default_rng((0, stream)), part))

    def batches(self, batch: int, seed: int) -> Callable[[int, float], Any]:
        """Training batches, pure in the step; none is seen twice, but for what is made of given data."""
        return lambda step, progress: self.batch(
            *self.made.sample(batch, np.random.default_rng((seed, _TRAIN, step)), "train")
        )

    def describe(self) -> dict[str, Any]:
        """Name, source, fingerprint and counts."""
        counts = {p: {"sequences": self.part(p).rows} for p in ("validation", "test")}
        origin = getattr(self.made, "origin", None)
        said = repr(self.made) if origin is None else f"{self.made!r} of {origin}"
        return {
            "name": self.name,
            "source": f"made: {said}",
            "fingerprint": digest("labelled", said)[:16],
            "counts": {"train": {"sequences": 0}, **counts},
            "notes": ["training sequences are made afresh for every step"],
        }

    def cut(self, share: float) -> Self:
        """Judged by a share of the sequences."""
        return replace(self, share=self.share * share)

    def settings(self) -> dict[str, Any]:
        """What a model of them remembers: `made` names the sequences, `length` says how long they are."""
        return {"made": self.name, "length": self.length}


class MadeModel(Model):
    """A causal network that answers within sequences."""

    task: ClassVar[str] = "solve"

    @property
    def net(self) -> SequenceModel:
        net = super().net
        assert isinstance(net, SequenceModel)
        return net

    def answer(self, given: Tensor) -> Tensor:
        """What it says at every token of sequences `[B, T]` or `[B, T, C]`: `[B, T]`."""
        raise NotImplementedError

    @torch.inference_mode()
    def outputs(self, given: Tensor) -> Tensor:
        """The network's outputs on sequences, in float64, `[B, T, …]`."""
        return self.net.eval()(given.to(self.device), Mask.causal()).double().cpu()

    def costs(self) -> dict[str, float]:
        """As every model's, with what its sequences cost: operations a token, and bytes of the cache."""
        return super().costs() | context_costs(self.net, int(self.spec["length"]))
