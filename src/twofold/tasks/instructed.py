"""Instruction-tuned masked language models: trained to answer at one mask, once, and kept in the cache.

Clavié et al. 2025, https://arxiv.org/abs/2502.03793
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from twofold import progress
from twofold.catalog import Steps
from twofold.checkpoints import cache_dir, folder
from twofold.data import batches, instructions, read
from twofold.data.cache import digest
from twofold.data.instructions import InstructionMix, LabelledTask, tasks_of
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.objectives import Loss, answers
from twofold.objectives.loss import IGNORED
from twofold.objectives.masked import Tokens
from twofold.parts import Head, LMHead, MLMHead, SequenceModel, TiedHead
from twofold.tasks import reference
from twofold.tasks.model import Model
from twofold.tasks.represent import MaskedModel
from twofold.training import History, Recipe, train

FAMILIES = ("doc-topics", "intents", "kinds", "mini-nli", "pyfacts")
"""The made text tasks that models are instructed on; `reviews` and `utterances` are held out. `factworld` is not among
them: its answers are invented names, which have several tokens and can only be learned by heart."""
WORDS: Mapping[str, Mapping[str, str]] = {
    "doc-topics": {
        "archives": "package", "commands": "command", "containers": "list", "dates": "date", "files": "file",
        "imports": "import", "logs": "log", "network": "socket", "numbers": "number", "processes": "thread",
        "storage": "object", "tests": "test", "text": "string", "web": "url",
    },
    "intents": {
        "abroad": "locale", "activate card": "start", "app problem": "application", "block card": "block",
        "cancel transfer": "stop", "card arrival": "wait", "card declined": "invalid", "card expired": "timeout",
        "card lost": "missing", "card stolen": "without", "card swallowed": "inside", "cash fee": "extra",
        "change address": "address", "change name": "name", "change phone": "number", "change pin": "digits",
        "charged twice": "multiple", "check balance": "check", "close account": "close", "direct debit": "regular",
        "exchange rate": "conversion", "find branch": "find", "forgot pin": "keyword", "human agent": "help",
        "interest": "additional", "loan": "need", "make transfer": "send", "mortgage": "home", "open account": "open",
        "order card": "new", "pin blocked": "blocking", "raise limit": "limit", "refund missing": "return",
        "reset password": "password", "standing order": "month", "statement": "statement",
        "transfer failed": "errors", "transfer pending": "after", "unknown payment": "unknown",
        "wrong cash": "difference",
    },
    "kinds": {
        "animal": "children", "body": "body", "clothing": "wrapper", "fruit": "tree", "furniture": "table",
        "tool": "handle", "vehicle": "transport", "weather": "environment",
    },
    "mini-nli": {"entailment": "true", "neutral": "possible", "contradiction": "false"},
}  # fmt: skip
"""Words that answer for labels, near in meaning and one token in the reference models' small vocabulary."""
DUMMIES: Mapping[str, answers.Dummy | None] = {
    "mask-label": answers.MaskLabel(),
    "mlm": answers.MaskedTokens(),
    "none": None,
}


@dataclass(frozen=True)
class Plan:
    """How a model is instructed. Every field is part of its identity.

    Attributes:
        steps: of training; 0 leaves the model as it was.
        dummy: what is asked of prompts that are not for answering, a name in `DUMMIES`.
        share: of such prompts.
        tokens: the longest prompt.
        letters: share of prompts that are answered by letter though the answer is one token.
    """

    families: tuple[str, ...] = FAMILIES
    steps: int = 300
    batch: int = 32
    lr: float = 2e-3
    dummy: str = "mask-label"
    share: float = 0.2
    tokens: int = 128
    letters: float = 0.2


@dataclass(frozen=True)
class InstructionBatch:
    """Prompts as ids `[B, T]`, which of them are real, and labels, `-100` where nothing is asked."""

    ids: Tensor
    real: Tensor
    labels: Tensor

    @property
    def tokens(self) -> int:
        return int(self.real.sum())

    def shard(self, rank: int, world: int) -> InstructionBatch:
        """One process's share."""
        return InstructionBatch(self.ids[rank::world], self.real[rank::world], self.labels[rank::world])

    def to(self, device: torch.device) -> InstructionBatch:
        """The same on another device."""
        return InstructionBatch(self.ids.to(device), self.real.to(device), self.labels.to(device))


class InstructionBatches:
    """Batches of prompts, of which a share are dummies; pure in the step.

    In a dummy the answer stands in its place, and the corruption hides what it likes of the whole prompt.
    """

    def __init__(self, mix: InstructionMix, plan: Plan, seed: int) -> None:
        self.mix, self.plan, self.seed = mix, plan, seed
        tokenizer = mix.prompts.tokenizer
        special = (tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.bos, tokenizer.eos, mix.prompts.anchor)
        self.pad = tokenizer.pad
        self.tokens = Tokens(mix.prompts.mask, tokenizer.vocab_size, tuple({t for t in special if t is not None}))
        self.dummy = DUMMIES[plan.dummy]

    def __call__(self, step: int, progress: float) -> InstructionBatch:
        random = np.random.default_rng((self.seed, step))
        prompts = [self.mix.draw(random) for _ in range(self.plan.batch)]
        ids, real = batches.pad([prompt.ids for prompt in prompts], self.pad)
        answer = torch.tensor([prompt.answer for prompt in prompts])
        labels = answers.answer_labels(ids, self.tokens.mask, answer) * real + IGNORED * ~real
        if self.dummy is not None:
            rows = torch.from_numpy(random.random(len(prompts)) < self.plan.share)
            whole = torch.where(ids == self.tokens.mask, answer[:, None], ids)[rows]
            generator = torch.Generator().manual_seed(int(random.integers(2**62)))
            hidden, asked = self.dummy(whole, self.tokens, generator)
            ids[rows], labels[rows] = hidden, torch.where(real[rows], asked, IGNORED)
        return InstructionBatch(ids, real, labels)


def loss(net: nn.Module, batch: InstructionBatch) -> Loss:
    """Cross-entropy over the whole vocabulary where something is asked, every prompt counted alike."""
    assert isinstance(net, SequenceModel)
    states = net.states(batch.ids, batch.real)[batch.labels != IGNORED]
    return answers.by_row(net.apply_head(states), batch.labels)


def with_words(net: SequenceModel, head: object = None) -> SequenceModel:
    """The network with a head over its vocabulary: its own, the one given, or one tied to the embeddings."""
    chosen = head if head is not None else net.head
    words = isinstance(chosen, TiedHead | LMHead | MLMHead)
    return SequenceModel(
        net.embedding, net.stack, chosen if words and isinstance(chosen, Head) else TiedHead(net.vocab)
    )


def instruct(
    net: SequenceModel, tokenizer: Tokenizer, tasks: Sequence[LabelledTask], plan: Plan, seed: int
) -> History | None:
    """Trains `net` in place on prompts from the tasks; None where the plan has no steps.

    Raises:
        UserError: the tokenizer has no mask, or the network reads fewer tokens than prompts have.
    """
    if net.max_len is not None and net.max_len < plan.tokens:
        raise UserError(f"prompts have up to {plan.tokens} tokens and the network reads {net.max_len}; lower tokens")
    mix = InstructionMix(tokenizer, tasks, plan.tokens, letters=plan.letters)
    if plan.steps == 0:
        return None
    made = InstructionBatches(mix, plan, seed)
    with progress.stage("instruct"):
        history = train(net, loss, made, Steps(plan.steps), Recipe(lr=plan.lr), seed=seed)
    net.eval()
    return history


def families(names: Sequence[str]) -> tuple[list[LabelledTask], str]:
    """The training parts of made text tasks, and the fingerprint of them all."""
    tasks, fingerprint = _families(tuple(names))
    return list(tasks), fingerprint


@lru_cache(maxsize=1)
def _families(names: tuple[str, ...]) -> tuple[tuple[LabelledTask, ...], str]:
    sets = [read(name) for name in names]
    tasks = tuple(task.named(WORDS.get(rows.name, {})) for rows in sets for task in tasks_of(rows.part("train")))
    return tasks, "+".join(rows.fingerprint for rows in sets)


def made(base: str, plan: Plan, seed: int) -> bool:
    """Whether the instructed reference model is in the cache, so that nothing is trained for it."""
    return reference.made(base, seed) and (_place(reference.model(base, seed), base, plan, seed) / "model").exists()


def _place(start: Model, base: str, plan: Plan, seed: int) -> Path:
    """Where the cache keeps it."""
    code = [Path(module.__file__ or "").read_bytes() for module in (instructions, answers)]
    weights = digest(*(p.detach().numpy().tobytes() for p in start.net.parameters()))
    asked = json.dumps(asdict(plan), sort_keys=True)
    key = digest(asked, families(plan.families)[1], weights, *code, Path(__file__).read_bytes())[:16]
    return cache_dir() / "reference" / f"{base}-instructed-{seed}-{key}"


def reference_model(base: str, plan: Plan, seed: int) -> MaskedModel:
    """The reference model `base` of that seed, instructed: from the cache, or made now (about a minute) and kept."""
    start = reference.model(base, seed)
    place = _place(start, base, plan, seed)
    place.mkdir(parents=True, exist_ok=True)
    with reference.alone(place):
        if not (place / "model").exists():
            assert isinstance(start.net, SequenceModel)
            assert start.tokenizer is not None
            net = with_words(start.net)
            history = instruct(net, start.tokenizer, families(plan.families)[0], plan, seed)
            given = MaskedModel(net, start.tokenizer, start.spec, start.history, start.notes)
            last = round(float(history.curve[-1]["loss"]), 4) if history is not None else None
            given.remember("instructed", {"seed": seed, **asdict(plan)}, {"loss": last})
            given.save(place / "model")
    return MaskedModel.restore(folder.read(place / "model"))
