"""Sequences in which some tokens have a known label."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from twofold.objectives import Loss, masked
from twofold.objectives.masked import IGNORED
from twofold.parts import Mask, SequenceModel
from twofold.tasks.solve.made import MadeData, MadeModel
from twofold.tasks.task import Evaluation


@dataclass(frozen=True)
class LabelBatch:
    """Ids and labels `[B, T]`; a label of -100 does not count."""

    ids: Tensor
    labels: Tensor

    @property
    def tokens(self) -> int:
        return self.ids.numel()

    @property
    def rows(self) -> int:
        """Sequences."""
        return len(self.ids)

    @property
    def given(self) -> Tensor:
        """What a network reads."""
        return self.ids

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
class LabelData(MadeData):
    """A kind of made sequence whose tokens have labels."""

    metric: ClassVar[str] = "accuracy"

    @property
    def vocab(self) -> int:
        """How many ids there are."""
        return int(self.made.vocab)

    def batch(self, given: np.ndarray, answers: np.ndarray) -> LabelBatch:
        return LabelBatch(torch.from_numpy(given), torch.from_numpy(answers))

    def start(self, network: Callable[[int], SequenceModel]) -> LabelModel:
        return LabelModel(network(self.vocab), None, {"kind": "labels", **self.settings()})

    def evaluate(self, model: LabelModel, part: str) -> Evaluation:
        """Accuracy of a sequence's labels, the share of sequences in which all are right, and the log likelihood."""
        shares, likely = model.score(self.part(part))
        nats = float(likely.mean())
        found = {"accuracy": float(shares.mean()), "exact_match": float((shares == 1).mean())}
        return Evaluation(found | {"log_likelihood": nats, "bits_per_label": -nats / math.log(2)}, shares)


class LabelModel(MadeModel):
    """A causal network that labels tokens."""

    @torch.inference_mode()
    def answer(self, given: Tensor) -> Tensor:
        """The most likely label of every token: ids `[B, T]` → `[B, T]`."""
        return torch.cat([self.outputs(part).argmax(-1) for part in given.split(64)])

    @torch.inference_mode()
    def score(self, given: LabelBatch) -> tuple[np.ndarray, np.ndarray]:
        """Share of each sequence's labels that are right, and their mean log probability in nats, `[n]` each."""
        right, likely = [], []
        for ids, labels in zip(given.ids.split(64), given.labels.split(64), strict=True):
            logits = self.outputs(ids)
            counts = labels != IGNORED
            number = counts.sum(1)
            right.append(((logits.argmax(-1) == labels) & counts).sum(1) / number)
            chosen = logits.log_softmax(-1).gather(-1, labels.clamp_min(0)[..., None])[..., 0]
            likely.append((chosen * counts).sum(1) / number)
        return torch.cat(right).double().numpy(), torch.cat(likely).double().numpy()


class EncoderLabelModel(LabelModel):
    """A network that labels tokens after it has read the whole sequence, what comes behind them too."""

    @torch.inference_mode()
    def outputs(self, given: Tensor) -> Tensor:
        return self.net.eval()(given.to(self.device)).double().cpu()
