"""Classifiers of long texts whose blocks read fewer rows than there are tokens. A system says how.

They can also be set to made sequences with labels: an ordinary encoder learns short ones, is changed, and goes on with
those of the data. Systems of one seed and one backbone go on from the same encoder.
"""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as options
from torch import nn

from twofold import progress
from twofold.catalog import Steps
from twofold.errors import UserError
from twofold.objectives import IGNORED, Loss, masked
from twofold.parts import Cls, Last, Part, SequenceHead, SequenceModel, TextClassifier
from twofold.surgery import read_longer
from twofold.tasks import backbones
from twofold.tasks.classify import ClassifyData, ClassifyModel, ClassifySystem, LabelledBatch
from twofold.tasks.classify.model import settings
from twofold.tasks.classify.readers import TextReader
from twofold.tasks.inputs import freeze
from twofold.tasks.model import Model
from twofold.tasks.solve import EncoderLabelModel, LabelBatch, LabelData
from twofold.tasks.system import BYTES, try_on_meta
from twofold.training import Recipe, train


def two_way(net: nn.Module, batch: LabelBatch) -> Loss:
    """Cross-entropy at the labelled tokens of sequences that are read whole."""
    assert isinstance(net, SequenceModel)
    asked = batch.labels != IGNORED
    return masked(net.apply_head(net.states(batch.ids)[asked]), batch.labels[asked])


@options(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LengthenedSystem(ClassifySystem):
    """What every classifier of long texts is told: how long they are, and where its important tokens stand."""

    tokens: int = Field(1024, ge=2, le=131_072, description="texts are cut here")
    first: int = Field(1, ge=0, description="tokens at the start that are important; the answer is read off the first")
    last: int = Field(0, ge=0, description="tokens at the end that are important; the answer, if none is at the start")
    before: int = Field(600, ge=0, description="made sequences: steps on short ones, by the encoder as it was")
    before_time: int = Field(128, ge=8, description="made sequences: tokens of the short ones")
    before_lr: float = Field(3e-3, gt=0, description="made sequences: highest learning rate on short ones")

    @abstractmethod
    def shortened(self, net: SequenceModel, length: int) -> SequenceModel:
        """The backbone, changed in place so that its blocks read fewer rows than the `length` tokens of a text."""

    def outline(self, length: int) -> SequenceModel:
        net = backbones.pattern("attention", 128, 4, max_len=length).network(BYTES, causal=False, max_len=length)
        return self.shortened(net, length)

    def serves(self, data: Any) -> str | None:
        made = isinstance(data, LabelData) and hasattr(data.made, "time")
        if not made and not isinstance(data, ClassifyData):
            return "it labels made sequences that have a time, such as loose-pair(time=512), and texts"
        try:
            try_on_meta(lambda: self.outline(data.length if made else self.tokens))
        except UserError as error:
            return str(error)
        return None if made else super().serves(data)

    def start(self, data: Any, seed: int) -> Model:
        if reason := self.serves(data):
            raise UserError(f"{self.id} cannot learn from {data.name}: {reason}")
        if isinstance(data, LabelData):
            net = copy.deepcopy(self._ordinary(data, seed))
            net = self.shortened(read_longer(net, data.length), data.length)
            return EncoderLabelModel(net, None, {"kind": "encoder-labels", **data.settings()})
        texts, batch_tokens = list(data.part("train")[0]), self.batch * self.tokens
        chosen = backbones.choose(self.backbone, texts, seed, max_len=self.tokens, batch_tokens=batch_tokens)
        freeze(chosen.model, self.tune_layers if chosen.pretrained else 0, str(self.backbone))
        model = self.shortened(read_longer(chosen.model, self.tokens), self.tokens)
        torch.manual_seed(seed)
        classifier = TextClassifier(
            model, Cls() if self.first else Last(), SequenceHead(model.dim, data.target.outputs)
        )
        spec = settings(data.target, TextReader(self.tokens))
        return ClassifyModel(classifier, chosen.tokenizer, spec, notes=dict(chosen.notes))

    def _ordinary(self, data: LabelData, seed: int) -> SequenceModel:
        short = replace(data.made, time=min(self.before_time, data.length))
        layers = json.dumps(self.backbone, sort_keys=True)
        return ordinary(layers, short, self.before, self.before_lr, self.batch, seed)

    def batches(self, model: Model, data: Any, seed: int) -> Callable[[int, float], Any]:
        if isinstance(data, LabelData):
            return data.batches(self.batch, seed)
        return super().batches(model, data, seed)

    def loss(self, net: Part, batch: LabelBatch | LabelledBatch) -> Loss:
        return two_way(net, batch) if isinstance(batch, LabelBatch) else super().loss(net, batch)


@lru_cache(maxsize=8)
def ordinary(layers: str, made: Any, steps: int, lr: float, batch: int, seed: int) -> SequenceModel:
    """A two-way encoder that was trained on made sequences, of 16 tokens first, then 32, 64 and as many as asked for.

    It is made once for all who ask for the same.

    Args:
        layers: a pattern of layers as JSON, or a mixer's name; width 64 and two layers where it does not say.
        made: what makes the sequences.
        steps, lr, batch, seed: of training; the steps are shared out evenly among the lengths.
    """
    data = LabelData(made)
    torch.manual_seed(seed)
    pattern = backbones.pattern(json.loads(layers), 64, 2, max_len=data.length)
    net = pattern.network(data.vocab, causal=False, max_len=data.length, tokens=batch * data.length)
    # One label in a long sequence teaches little to a network that knows nothing: the first ones are short.
    times = [time for time in (16, 32, 64) if time < data.length] + [data.length]
    with progress.stage(f"encoder of {data.length} tokens, seed {seed}", total=len(times)) as stage:
        for time in times:
            part, own = LabelData(replace(made, time=time)), steps // len(times)
            if own:
                train(net, two_way, part.batches(batch, seed), Steps(own), Recipe(lr=lr), seed=seed)
            stage.advance()
    return net.eval()
