"""ModernBERT as a classifier: hidden tokens of the texts first, then their labels, in one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from twofold.data.tokenizers import train_wordpiece
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Mean, MLMHead, Part, SequenceHead, SequenceModel, TextClassifier
from twofold.tasks import Model, backbones
from twofold.tasks.classify import ClassifyData, ClassifyModel, LabelledBatch, LabelledBatches, settings
from twofold.tasks.classify.readers import TextReader
from twofold.tasks.classify.system import training_store
from twofold.tasks.represent import PackedWindows, WindowBatch
from twofold.tasks.represent.system import fill_in

if TYPE_CHECKING:
    from twofold.systems.text_encoders.modernbert import ModernBert


def start(given: ModernBert, data: ClassifyData, seed: int) -> ClassifyModel:
    """The mean of the states and a linear map; the head that fills in tokens stays for as long as training lasts.

    Raises:
        UserError: the data are no texts.
    """
    if reason := given.serves(data):
        raise UserError(f"modernbert cannot learn from {data.name}: {reason}")
    texts = list(data.part("train")[0])
    notes: dict[str, Any] = {}
    if given.start_from is None:
        tokenizer: Any = train_wordpiece(texts, given.vocab)
        torch.manual_seed(seed)
        net = given.network(tokenizer.vocab_size)
    else:
        longest = max(given.tokens, given.length) if given.pretrain else given.tokens
        chosen = given.chosen(texts, seed, longest)
        tokenizer, notes = chosen.tokenizer, dict(chosen.notes)
        net = SequenceModel(chosen.model.embedding, chosen.model.stack, masked_head(chosen))
    torch.manual_seed(seed)
    head = SequenceHead(net.dim, data.target.outputs)
    spec = settings(data.target, TextReader(given.tokens))
    return ClassifyModel(TextClassifier(net, Mean(), head), tokenizer, spec, notes=notes)


def masked_head(chosen: backbones.Chosen) -> Part:
    """The checkpoint's own head over the vocabulary where it has one, else a fresh one."""
    if isinstance(chosen.head, MLMHead):
        return chosen.head
    return MLMHead(chosen.model.dim, chosen.model.vocab, inner_bias=False)


def batches(given: ModernBert, model: ClassifyModel, data: ClassifyData, seed: int) -> Callable[[int, float], Any]:
    """Windows of the training texts for the first `pretrain` of the budget, labelled texts after it."""
    assert model.tokenizer is not None
    labelled = LabelledBatches(training_store(model, data), data, given.batch, seed, like=True)
    if not given.pretrain:
        return labelled
    texts = list(data.part("train")[0])
    there = sum(len(ids) + 1 for ids in model.tokenizer.encode(texts, specials=False))
    # Few short texts fill no whole window, and still have labels to learn from.
    windows = PackedWindows(model.tokenizer, texts, min(given.length, there), given.batch, seed)

    def batch(step: int, progress: float) -> WindowBatch | LabelledBatch:
        return windows(step, progress) if progress < given.pretrain else labelled(step, progress)

    return batch


def loss(given: ModernBert, net: TextClassifier, batch: WindowBatch | LabelledBatch) -> Loss:
    """Hidden tokens, or labels, whichever the batch asks for."""
    if isinstance(batch, WindowBatch):
        return fill_in(net.model, batch, given.mask_rate)
    return batch.target.loss(batch.inputs.embed(net), batch.values)


def finish(model: Model) -> None:
    """A classifier needs its head over the vocabulary no more."""
    if isinstance(model.net, TextClassifier):
        model.net.model.head = None
