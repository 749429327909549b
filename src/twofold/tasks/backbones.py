"""Backbones by name: a preset or mixer and size, a pattern of layers, a reference model, or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twofold.data.tokenizers import Tokenizer, train_wordpiece
from twofold.errors import UserError
from twofold.parts import Mixer, Part, Pattern, SequenceModel, presets, sequence_model
from twofold.parts.fitting import usual_heads
from twofold.parts.named import names
from twofold.tasks import backbone_names, instructed, reference, registry
from twofold.tasks.backbone_names import SHORTEST, SIZED, described, first_line, layered, parts, unknown_backbone
from twofold.tasks.model import Model

INSTRUCTED = "tiny-instructed"
"""`tiny-encoder-2`, instructed on the made text tasks."""

CHECKPOINTS = {
    "minilm": "a BERT-like encoder of sentences; fetch it with: twofold pull minilm",
    "smollm2": "a Llama-like decoder; fetch it with: twofold pull smollm2",
}

Backbone = Any
"""`minilm`, `smollm2`, a model folder, `tiny-encoder`, `tiny-instructed`; a preset, mixer or system of the mixers
family with its size, such as `t5-3x128` or `attention-3x128` (layers × width); a mixer or system alone, `ssd`, which
is 4 × 128; or a `Pattern` as data."""


def _t5(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    heads = usual_heads(dim)
    return presets.t5_encoder(vocab, dim, layers, heads, hidden=4 * dim, head_dim=dim // heads)


def _bert(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    return presets.bert(vocab, dim, layers, usual_heads(dim), hidden=4 * dim, max_len=max_len)


def _encoder(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    return presets.encoder(vocab, dim, layers, usual_heads(dim), max_len)


def _modernbert(vocab: int, dim: int, layers: int, max_len: int) -> SequenceModel:
    return presets.modernbert(vocab, dim, layers, usual_heads(dim), hidden=-(-8 * dim // 24) * 8)


PRESETS: dict[str, Callable[[int, int, int, int], SequenceModel]] = {
    "encoder": _encoder,
    "t5": _t5,
    "bert": _bert,
    "modernbert": _modernbert,
}


@dataclass(frozen=True)
class Chosen:
    """A backbone: its network without a head, its tokenizer, whether it was trained before, and with which head."""

    model: SequenceModel
    tokenizer: Tokenizer
    pretrained: bool
    notes: dict[str, object]
    head: Part | None = None


def pattern(
    given: Backbone, dim: int, layers: int, *, heads: int | None = None, conv: int = 0, max_len: int = 512
) -> Pattern:
    """The layers that a name or plain data stands for.

    Args:
        given: a mixer (`attention`: equal blocks of it), a system of the mixers family, either with `-LAYERSxWIDTH`
            behind it; a list of layers; or a mapping as `Pattern.read` takes.
        dim, layers: where the name does not say.
        heads: of mixers that have some (default: one for each 32 features).
        conv: width of a convolution in front of every mixer.
        max_len: the longest input.

    Raises:
        UserError: no such name; names the nearest. Or the name of a whole network.
    """
    if not isinstance(given, str):
        return Pattern.read(given, dim=dim, heads=heads, conv=conv)
    bare, *size = parts(given)
    if bare in PRESETS or given in (*reference.NAMES, INSTRUCTED, *CHECKPOINTS):
        whole = f"{bare}-{size[0]}x{size[1]}" if bare in PRESETS else given
        raise UserError(
            f"{given} is a whole network and no layers by name; gtr takes it (--set backbone={whole}), and so does "
            f"modernbert (--set start_from={whole}). Give a mixer or a system with layers x width, such as ssd-2x128"
        )
    return backbone_names.pattern(given, dim, layers, heads=heads, conv=conv, max_len=max_len)


def every() -> list[dict[str, str]]:
    """All names there are, each with `id`, `kind` (preset, mixer, system, reference or checkpoint) and `summary`."""
    shapes = {
        "encoder": presets.encoder,
        "t5": presets.t5_encoder,
        "bert": presets.bert,
        "modernbert": presets.modernbert,
    }
    found = [{"id": name, "kind": "preset", "summary": first_line(shapes[name])} for name in PRESETS]
    trained = dict.fromkeys(reference.NAMES, "trained here on embedded text, once, when it is first used")
    trained[INSTRUCTED] = "tiny-encoder-2, instructed on made text tasks"
    for kind, summaries in (("reference", trained), ("checkpoint", CHECKPOINTS)):
        found += [{"id": name, "kind": kind, "summary": summary} for name, summary in summaries.items()]
    return described() + found


def choose(
    name: Backbone,
    texts: Sequence[str],
    seed: int,
    max_len: int,
    vocab: int = 4096,
    tokens: Callable[[Sequence[str], int], Tokenizer] = train_wordpiece,
    batch_tokens: int | None = None,
) -> Chosen:
    """The backbone of that name.

    Args:
        texts: the training texts; a preset's tokenizer is trained on them.
        seed: of a preset's weights; of the reference model.
        max_len: the longest input, in tokens.
        vocab: pieces of a preset's tokenizer.
        tokens: makes it, of the texts and that number.
        batch_tokens: that a training batch has at most, which experts in the layers share (default: one input's).

    Raises:
        UserError: no such preset or checkpoint; names the nearest.
    """
    made = _maker(name, max_len, batch_tokens)
    if made is not None:
        tokenizer = tokens(texts, vocab)
        torch.manual_seed(seed)
        return Chosen(made(tokenizer.vocab_size), tokenizer, False, {})
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
    _known(name)
    loaded = registry.load(name)
    found = sequence_model(loaded.net)
    if found is None or loaded.tokenizer is None:
        raise UserError(f"{name} is no sequence model with a tokenizer, so it cannot be a backbone")
    return _without_head(found, loaded.tokenizer, loaded.notes)


def check(name: Backbone, max_len: int, batch_tokens: int | None = None) -> SequenceModel | None:
    """Refuses what `choose` would: no such backbone, or layers that do not go together (UserError).

    Args:
        max_len, batch_tokens: as `choose` has them.

    Returns:
        The network, without weights; None: one that was trained before, which is not loaded for this.
    """
    made = _maker(name, max_len, batch_tokens)
    if made is not None:
        with torch.device("meta"):
            return made(260)
    if name not in reference.NAMES and name != INSTRUCTED:
        _known(name)
    return None


def _known(name: str) -> None:
    """Refuses what is no checkpoint and no folder either (UserError)."""
    if name not in CHECKPOINTS and not Path(name).exists():
        raise unknown(name)


def unknown(name: str) -> UserError:
    """The error for what is no backbone: names the nearest that would be."""
    return unknown_backbone(
        name,
        {each["id"]: each["kind"] for each in every()},
        "a preset, mixer or system with layers x width, such as t5-2x128, or a model folder",
    )


def instructed_model(name: Backbone, texts: Sequence[str], plan: instructed.Plan, seed: int) -> Model:
    """A backbone of any name, instructed: a reference model from the cache, any other one now.

    Args:
        texts: the training texts; a preset's tokenizer is trained on them, and on some of the instructions'.
        plan: how it is instructed.
        seed: of weights and prompts.

    Raises:
        UserError: no such backbone, or one that cannot be asked.
    """
    if name in reference.NAMES:
        return instructed.reference_model(name, plan, seed)
    tasks, _ = instructed.families(plan.families)
    texts = [*texts, *(text for task in tasks for text in task.texts[:200])]
    chosen = choose(name, texts, seed, max_len=plan.tokens, batch_tokens=plan.batch * plan.tokens)
    torch.manual_seed(seed)
    net = instructed.with_words(chosen.model, chosen.head)
    instructed.instruct(net, chosen.tokenizer, tasks, plan, seed)
    return Model(net, chosen.tokenizer, notes=dict(chosen.notes))


def _maker(name: Backbone, max_len: int, batch_tokens: int | None) -> Callable[[int], SequenceModel] | None:
    """From the size of the vocabulary to an untrained network of states; None for what is no such backbone."""
    sized = SIZED.fullmatch(name) if isinstance(name, str) else None
    if sized and sized[1] in PRESETS:
        bare, layers, dim = parts(name)
        return lambda vocab: PRESETS[bare](vocab, dim, layers, max_len)
    if isinstance(name, str) and (sized[1] if sized else name) not in (*names(Mixer), *layered()):
        return None
    longest = max(max_len, SHORTEST) if isinstance(name, str) else max_len
    found = pattern(name, 128, 4, max_len=longest)
    return lambda vocab: found.network(vocab, max_len=longest, tokens=batch_tokens, head=False)


def _without_head(net: SequenceModel, tokenizer: Tokenizer, notes: dict[str, object]) -> Chosen:
    return Chosen(SequenceModel(net.embedding, net.stack), tokenizer, True, notes, net.head)
