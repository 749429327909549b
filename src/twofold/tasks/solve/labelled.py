"""Sequences in which some tokens have a known label: what is trained on is made afresh for every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from twofold.data.cache import digest
from twofold.data.made import sequences
from twofold.measure.costs import context_costs
from twofold.objectives import Loss, masked
from twofold.objectives.masked import IGNORED
from twofold.parts import Mask, SequenceModel
from twofold.tasks.model import Model

_TRAIN, _VALIDATION, _TEST = range(3)
JUDGED = 512  # sequences in the test part; a quarter of it in validation


@dataclass(frozen=True)
class LabelBatch:
    """Ids and labels `[B, T]`; a label of -100 does not count."""

    ids: Tensor
    labels: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    def shard(self, rank: int, world: int) -> LabelBatch:
        """One process's share."""
        return LabelBatch(self.ids[rank::world], self.labels[rank::world])

    def to(self, device: torch.device) -> LabelBatch:
        """The same on another device."""
        return LabelBatch(self.ids.to(device), self.labels.to(device))

    def loss(self, net: nn.Module) -> Loss:
        """Cross-entropy at the labelled tokens; nothing is seen ahead."""
        return masked(net(self.ids, Mask.causal()), self.labels)


@dataclass(frozen=True)
class LabelData:
    """A kind of made sequence, with its settings.

    Args:
        made: what makes them.
        share: of the sequences that are judged.
    """

    made: sequences.Sequences
    share: float = 1.0

    @property
    def name(self) -> str:
        return self.made.name

    @property
    def vocab(self) -> int:
        """How many ids there are."""
        return self.made.vocab

    @property
    def length(self) -> int:
        """Tokens in a sequence."""
        return self.made.length

    def part(self, part: str) -> LabelBatch:
        """The validation part or the test part, the same every time."""
        stream = _VALIDATION if part == "validation" else _TEST if part == "test" else _TRAIN
        count = max(8, round(self.share * (JUDGED if stream == _TEST else JUDGED // 4)))
        return self._sample(count, (0, stream))

    def batches(self, batch: int, seed: int) -> Callable[[int, float], LabelBatch]:
        """Training batches, pure in the step; none is seen twice."""
        return lambda step, progress: self._sample(batch, (seed, _TRAIN, step))

    def _sample(self, count: int, seed: tuple[int, ...]) -> LabelBatch:
        ids, labels = self.made.sample(count, np.random.default_rng(seed))
        return LabelBatch(torch.from_numpy(ids), torch.from_numpy(labels))

    def describe(self) -> dict[str, Any]:
        """Name, source, fingerprint and counts."""
        counts = {p: {"sequences": len(self.part(p).ids)} for p in ("validation", "test")}
        said = repr(self.made)
        return {
            "name": self.name,
            "source": f"made: {said}",
            "fingerprint": digest("labelled", said)[:16],
            "counts": {"train": {"sequences": 0}, **counts},
            "notes": ["training sequences are made afresh for every step"],
        }

    def cut(self, share: float) -> LabelData:
        """Judged by a share of the sequences."""
        return replace(self, share=self.share * share)

    def model(self, net: SequenceModel) -> LabelModel:
        """A model of these sequences around a network."""
        return LabelModel(net, None, {"kind": "labels", "made": self.name, "length": self.length})


class LabelModel(Model):
    """A causal network that labels tokens. The setting `made` names its sequences, `length` how long they are."""

    task: ClassVar[str] = "solve"

    @property
    def net(self) -> SequenceModel:
        net = super().net
        assert isinstance(net, SequenceModel)
        return net

    @torch.inference_mode()
    def label(self, ids: Tensor) -> Tensor:
        """The most likely label of every token: ids `[B, T]` → `[B, T]`."""
        rows = ids.to(self.device).split(64)
        return torch.cat([self.net.eval()(part, Mask.causal()).argmax(-1) for part in rows]).cpu()

    def costs(self) -> dict[str, float]:
        """As every model's, with what its sequences cost: operations a token, and bytes of the cache."""
        return super().costs() | context_costs(self.net, int(self.spec["length"]))

    @torch.inference_mode()
    def score(self, given: LabelBatch) -> tuple[np.ndarray, np.ndarray]:
        """Share of each sequence's labels that are right, and their mean log probability in nats, `[n]` each."""
        right, likely = [], []
        for ids, labels in zip(given.ids.split(64), given.labels.split(64), strict=True):
            logits = self.net.eval()(ids.to(self.device), Mask.causal()).double().cpu()
            counts = labels != IGNORED
            number = counts.sum(1)
            right.append(((logits.argmax(-1) == labels) & counts).sum(1) / number)
            chosen = logits.log_softmax(-1).gather(-1, labels.clamp_min(0)[..., None])[..., 0]
            likely.append((chosen * counts).sum(1) / number)
        return torch.cat(right).double().numpy(), torch.cat(likely).double().numpy()
