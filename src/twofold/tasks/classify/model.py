"""Classifiers: inputs in, labels with probabilities out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from twofold.data.rows import listed
from twofold.errors import UserError
from twofold.parts import Likeness, Neighbours
from twofold.tasks.classify.data import Inputs
from twofold.tasks.classify.readers import Reader
from twofold.tasks.classify.targets import OneLabel, Prediction, Target
from twofold.tasks.model import Model


class ClassifyModel(Model):
    """A network (or what a subclass has in its place) that says which class an input belongs to.

    The task's settings: `target` (what is predicted, as `Target.spec` has it) and `input` (how inputs are read, as
    `Reader.spec` has it).
    """

    task: ClassVar[str] = "classify"

    @property
    def target(self) -> Target:
        """What it predicts."""
        return Target.of(self.spec["target"])

    @property
    def reader(self) -> Reader:
        """How it reads its inputs."""
        return Reader.of(self.spec["input"])

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of its classes; empty where it predicts numbers."""
        return self.target.labels

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Outputs before they become probabilities, float32 `[n, outputs]`."""
        return self.reader.logits(self, inputs)

    def embed(self, inputs: Inputs) -> np.ndarray:
        """The vectors that its head reads, float32 `[n, d]`.

        Raises:
            UserError: the network has no encoder of its own below a head.
        """
        encoder = getattr(self.net, "encoder", None)
        if encoder is None:
            raise UserError(f"{self.name} makes no vectors of its inputs; it has no encoder below a head")
        return self.reader.outputs(self, encoder, inputs)

    def likeness(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """How near each item that it knows is to each input, `[n, known]`, and the known items' classes, `[known]`.

        Raises:
            UserError: it does not answer from known items.
        """
        other = copy.deepcopy(self.net)
        for name, part in other.named_modules():
            if isinstance(part, Neighbours):
                above, _, last = name.rpartition(".")
                setattr(other.get_submodule(above), last, Likeness(part))
                return self.reader.outputs(self, other, inputs), part.values.argmax(-1).cpu().numpy()
        raise UserError(f"{self.name} knows no items by themselves; set answer=neighbours")

    def probabilities(self, inputs: Inputs) -> np.ndarray:
        """The probability of every label, `[n, labels]`; for numbers the numbers themselves, `[n]`.

        Args:
            inputs: texts, or images as paths or uint8 arrays.

        Raises:
            UserError: an input is empty or of another kind; names it.
        """
        return self.target.decode(self.logits(inputs))

    def predict(self, inputs: str | Sequence[str] | np.ndarray, labels: Sequence[str] | None = None) -> Any:
        """What each input is: one `Prediction` for a single text or path, else a list.

        Args:
            labels: other labels to choose from, for a model that answers in words (zero-shot).

        Raises:
            UserError: there is no input, the labels are not different, or the model knows its own labels only.
        """
        if labels is not None:
            return self.asked(labels).predict(inputs)
        single = isinstance(inputs, str)
        many: Inputs = [inputs] if isinstance(inputs, str) else inputs
        if not len(many):
            raise UserError("nothing to predict: there is no input")
        found: list[Prediction] = self.target.answers(self.probabilities(many))
        return found[0] if single else found

    def asked(self, labels: Sequence[str]) -> Self:
        """The same model, choosing from other labels."""
        if self._net is None or not self.reader.free_labels:
            raise UserError(f"{self.name} knows the labels {listed(self.labels)} only; leave labels out")
        if len(set(labels)) < max(2, len(labels)):
            raise UserError(f"labels {listed(labels)}: give at least two, all different")
        spec = {**self.spec, "target": OneLabel(tuple(labels)).spec()}
        return type(self)(self._net, self.tokenizer, spec, self.history, self.notes)


def settings(target: Target, reader: Reader) -> Mapping[str, Any]:
    """The task's settings of a model that predicts `target` from what `reader` reads."""
    return {"target": target.spec(), "input": reader.spec()}
