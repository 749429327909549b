"""Backbones by name: a preset and size, a reference model, or a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from twofold.data.tokenizers import Tokenizer, train_wordpiece
from twofold.errors import UserError, did_you_mean
from twofold.parts import Encoder, Part, SequenceModel, presets
from twofold.tasks import instructed, reference, registry

INSTRUCTED = "tiny-instructed"
"""`tiny-encoder-2`, instructed on the made text tasks."""

Backbone = str
"""`minilm`, `smollm2`, a model folder, `tiny-encoder`, `tiny-instructed`, or a preset and size such as `t5-3x128`
(layers × width)."""


def _t5(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    heads = max(1, dim // 32)
    return presets.t5_encoder(vocab, dim, layers, heads, hidden=4 * dim, head_dim=dim // heads)


def _bert(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    return presets.bert(vocab, dim, layers, max(1, dim // 32), hidden=4 * dim, max_len=max_len)


def _encoder(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    return presets.encoder(vocab, dim, layers, max(1, dim // 32), max_len)


def _modernbert(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    return presets.modernbert(vocab, dim, layers, max(1, dim // 32), hidden=-(-8 * dim // 24) * 8)


PRESETS: dict[str, Callable[[int, int, int, int], SequenceModel]] = {
    "encoder": _encoder,
    "t5": _t5,
    "bert": _bert,
    "modernbert": _modernbert,
}
_SIZED = re.compile(r"([a-z0-9]+)-(\d+)x(\d+)")


@dataclass(frozen=True)
class Chosen:
    """A backbone: its network without a head, its tokenizer, whether it was trained before, and with which head."""

    model: SequenceModel
    tokenizer: Tokenizer
    pretrained: bool
    notes: dict[str, object]
    head: Part | None = None


def choose(name: Backbone, texts: Sequence[str], seed: int, max_len: int, vocab: int = 4096) -> Chosen:
    """The backbone of that name.

    Args:
        texts: the training texts; a preset's tokenizer is trained on them.
        seed: of a preset's weights; of the reference model.
        max_len: the longest input, in tokens.
        vocab: pieces of a preset's tokenizer.

    Raises:
        UserError: no such preset or checkpoint; names the nearest.
    """
    sized = _SIZED.fullmatch(name)
    if sized and sized[1] in PRESETS:
        layers, dim = int(sized[2]), int(sized[3])
        tokenizer = train_wordpiece(texts, vocab)
        torch.manual_seed(seed)
        net = PRESETS[sized[1]](tokenizer.vocab_size, dim, layers, max_len)
        return Chosen(net, tokenizer, False, {})
    if name in reference.NAMES:
        trained = reference.model(name, seed)
        assert isinstance(trained.net, SequenceModel)
        assert trained.tokenizer is not None
        return _without_head(trained.net, trained.tokenizer, trained.notes)
    if name == INSTRUCTED:
        ready = instructed.reference_model("tiny-encoder-2", instructed.Plan(), seed)
        assert isinstance(ready.net, SequenceModel)
        assert ready.tokenizer is not None
        return _without_head(ready.net, ready.tokenizer, ready.notes)
    if name not in ("minilm", "smollm2") and not Path(name).exists():
        known = [*(f"{p}-2x128" for p in PRESETS), *reference.NAMES, INSTRUCTED, "minilm", "smollm2"]
        raise UserError(
            f"unknown backbone {name!r}.{did_you_mean(name, known)} "
            f"Known: presets with layers x width, such as {', '.join(known)}, or a model folder"
        )
    loaded = registry.load(name)
    found: Part = loaded.net.tower("document").model if isinstance(loaded.net, Encoder) else loaded.net
    if not isinstance(found, SequenceModel) or loaded.tokenizer is None:
        raise UserError(f"{name} is no sequence model with a tokenizer, so it cannot be a backbone")
    return _without_head(found, loaded.tokenizer, loaded.notes)


def _without_head(net: SequenceModel, tokenizer: Tokenizer, notes: dict[str, object]) -> Chosen:
    return Chosen(SequenceModel(net.embedding, net.stack), tokenizer, True, notes, net.head)
