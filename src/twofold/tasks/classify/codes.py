"""Classifiers that make codes of symbols: what answers from a code, and other classes from a few examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from twofold.errors import UserError
from twofold.parts import CodeClasses, CodeHead, CodeNeighbours, Headed
from twofold.tasks.classify.data import Inputs
from twofold.tasks.classify.knowing import link_of, told
from twofold.tasks.classify.model import ClassifyModel
from twofold.tasks.classify.targets import OneLabel, Target

Chances = Float[Tensor, "known length size"]


def code_chances(model: ClassifyModel, head: CodeHead, inputs: Inputs) -> Chances:
    """Log-probabilities of the symbols of each input, read by `head` from the model's vectors."""
    with torch.no_grad():
        chances: Tensor = head(torch.from_numpy(model.embed(inputs)))
    return chances


def class_codes(chances: Chances, values: np.ndarray, target: OneLabel) -> CodeClasses:
    """A head that answers by each class's mean distribution of symbols; `values` are the classes of known items."""
    return CodeClasses(target.outputs, *chances.shape[1:]).know(chances, torch.from_numpy(values))


def nearest_codes(chances: Chances, values: np.ndarray, target: Target, hamming: bool = False) -> CodeNeighbours:
    """A head that answers as the likest known item.

    Args:
        hamming: count equal symbols, in place of looking codes up in the asked item's probabilities.
    """
    count, length, size = chances.shape
    known = CodeNeighbours(count, length, size, target.outputs, link=link_of(target), hamming=hamming)
    return known.know(chances, told(values, target))


def few_shot(model: ClassifyModel, support: Inputs, labels: Sequence[str]) -> ClassifyModel:
    """A copy that knows other classes, from a few examples of each; nothing is trained.

    Args:
        model: a classifier of codes, such as `dimco` makes.
        support: examples.
        labels: the class of each.

    Raises:
        UserError: a model of something else, or fewer than two classes.
    """
    head: Any = getattr(model.net, "head", None)
    if not isinstance(head, Headed) or not isinstance(head.encoder, CodeHead):
        raise UserError(
            f"few_shot takes a classifier of codes, not a model for {model.task} by {model.name}; train one with: "
            "twofold fit dimco --task classify"
        )
    names = tuple(dict.fromkeys(labels))
    if len(names) < 2 or len(labels) != len(support):
        raise UserError(f"{len(support)} examples of {len(names)} classes; give a label each, and at least two classes")
    other, codes = model.copy(), head.encoder
    target, values = OneLabel(names), np.array([names.index(label) for label in labels])
    other.net.head = Headed(codes, class_codes(code_chances(model, codes, support), values, target))
    other.spec["target"] = target.spec()
    return other
