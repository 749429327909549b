"""Reference models: small networks trained here once, on demand, that many systems start from or are judged by.

`tiny-decoder` and `tiny-encoder` are a pair: the same tokens, documents, order, steps and initial weights; only the
mask and the objective differ. `tiny-encoder-2` is the encoder with its first two layers; `tiny-encoder-concepts` is the
same, trained on the documents of `concepts`, with an id for every word. All see training groups only.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from twofold import progress
from twofold.catalog import Steps
from twofold.checkpoints import cache_dir, folder
from twofold.data import read, split
from twofold.data.cache import digest
from twofold.data.tokenizers import Tokenizer, train_bpe, train_wordpiece
from twofold.errors import unknown
from twofold.objectives import Loss, causal, mask_tokens, masked
from twofold.parts import Mask, SequenceModel, presets
from twofold.tasks.language import LanguageModel, TokenBatch, Windows
from twofold.tasks.model import Model
from twofold.tasks.represent import MaskedModel
from twofold.tasks.search.data import SHARES
from twofold.training import Recipe, train

_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Plan:
    """How a reference model is made. Every field is part of its identity."""

    two_way: bool
    layers: int = 4
    dim: int = 128
    heads: int = 4
    vocab: int = 4096
    length: int = 128
    batch: int = 16
    steps: int = 1000
    lr: float = 1e-3
    mask_rate: float = 0.15
    corpus: str = "library"

    def identity(self) -> dict[str, Any]:
        """What the cache knows it by: every field that is not its usual one was part of it from the start."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("corpus", "library")}

    def network(self, vocab: int, seed: int, deepest: int = 4) -> SequenceModel:
        """Fresh weights: where shapes agree, the same for every plan of that width, vocabulary and seed."""
        torch.manual_seed(seed)
        full = presets.decoder(vocab, self.dim, max(deepest, self.layers), self.heads)
        shape = presets.encoder if self.two_way else presets.decoder
        net = shape(vocab, self.dim, self.layers, self.heads, head="tied")
        initial = full.state_dict()
        net.load_state_dict({name: initial[name] for name in net.state_dict()})
        return net

    def tokenizer(self, texts: Sequence[str]) -> Tokenizer:
        """Byte-level pairs; of made words, pieces that are whole words."""
        return train_bpe(texts, self.vocab) if self.corpus == "library" else train_wordpiece(texts, self.vocab)

    def loss(self, tokenizer: Tokenizer) -> Callable[[nn.Module, TokenBatch], Loss]:
        """The objective: the next token, or masked tokens."""
        if not self.two_way:
            return lambda net, batch: causal(net(batch.ids, Mask.causal()), batch.ids)
        roles = [
            r for r in (tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.cls, tokenizer.sep) if r is not None
        ]
        mask, vocab = tokenizer.mask, tokenizer.vocab_size
        assert mask is not None

        def fill_in(net: nn.Module, batch: TokenBatch) -> Loss:
            ids, labels = mask_tokens(batch.ids, self.mask_rate, mask=mask, vocab=vocab, protect=roles)
            return masked(net(ids), labels)

        return fill_in

    def start(self, tokenizer: Tokenizer, seed: int) -> Model:
        """The model before training."""
        kind = MaskedModel if self.two_way else LanguageModel
        return kind(self.network(tokenizer.vocab_size, seed), tokenizer, {"length": self.length})


PLANS = {
    "tiny-decoder": Plan(two_way=False),
    "tiny-encoder": Plan(two_way=True),
    "tiny-encoder-2": Plan(two_way=True, layers=2),
    "tiny-encoder-concepts": Plan(two_way=True, layers=2, corpus="concepts"),
}
NAMES = tuple(PLANS)


@lru_cache(maxsize=4)
def _trained(name: str, seed: int) -> Path:
    plan = PLANS[name]
    texts, fingerprint = CORPORA[plan.corpus]()
    place = _place(name, fingerprint, seed)
    place.mkdir(parents=True, exist_ok=True)
    with alone(place), progress.stage(f"reference model {name}, seed {seed}", total=1) as stage:
        now = trace(plan)
        if _traced(place) is not None and not _close(_traced(place), now):
            shutil.rmtree(place / "model", ignore_errors=True)
            shutil.rmtree(place / "training", ignore_errors=True)
        (place / "trace.json").write_text(json.dumps(now), encoding="utf-8")
        if not (place / "model").exists():
            make(name, plan, texts, seed, place)
        stage.advance()
    return place / "model"


def _place(name: str, fingerprint: str, seed: int) -> Path:
    """Where the cache keeps a model that learns from the corpus of that fingerprint."""
    key = digest(json.dumps(PLANS[name].identity(), sort_keys=True), fingerprint, str(seed))[:16]
    return cache_dir() / "reference" / f"{name}-{seed}-{key}"


def made(name: str, seed: int) -> bool:
    """Whether a reference model is in the cache, so that nothing is trained for it."""
    _, fingerprint = CORPORA[PLANS[name].corpus]()
    return (_place(name, fingerprint, seed) / "model").exists()


def model(name: str, seed: int = 0) -> Model:
    """A reference model: from the cache, or trained now (about five minutes a core) and kept there.

    The cache keeps a model for as long as its options, its data and what training does to a small fixed case
    (20 steps, to 1e-4) stay the same. Training that was interrupted goes on.

    Args:
        name: one of `NAMES`.
        seed: of its weights and the order of its batches.

    Raises:
        UserError: no such reference model; names the nearest.
    """
    if name not in PLANS:
        raise unknown("reference model", name, NAMES)
    kind = MaskedModel if PLANS[name].two_way else LanguageModel
    return kind.restore(folder.read(_trained(name, seed)))


def documents() -> tuple[list[str], str]:
    """The training texts of `pydoc` and `pycode`, in order, and the fingerprint of both sets.

    Groups are those that train under every task's split (search trains on the fewest).
    """
    sets = [split(read(name), SHARES) for name in ("pydoc", "pycode")]
    texts = [text for rows in sets for text in rows.part("train").columns["text"]]
    return texts, "+".join(rows.fingerprint for rows in sets)


def concept_documents() -> tuple[list[str], str]:
    """The training documents of `concepts`, and its fingerprint."""
    rows = split(read("concepts"), SHARES)
    return list(dict.fromkeys(rows.part("train").columns["document"])), rows.fingerprint


CORPORA = {"library": documents, "concepts": concept_documents}
"""What a plan's `corpus` names."""


def make(name: str, plan: Plan, texts: Sequence[str], seed: int, place: Path) -> Model:
    """Trains the model in `place/training`, going on from what is there, and saves it as `place/model`."""
    tokenizer = plan.tokenizer(texts)
    made = plan.start(tokenizer, seed)
    # Batches come from the decoder's windows for every plan, so that a pair sees the same ones.
    windows = Windows(tokenizer, texts, plan.length, plan.batch, seed)
    history = train(
        made.net,
        plan.loss(tokenizer),
        windows,
        Steps(plan.steps),
        Recipe(lr=plan.lr),
        seed=seed,
        folder=place / "training",
    )
    report = {"steps": history.steps, "seconds": round(history.seconds, 1), "loss": round(history.curve[-1]["loss"], 4)}
    made.net.eval()
    made.remember(name, {"seed": seed, **plan.identity()}, report)
    made.save(place / "model")
    shutil.rmtree(place / "training", ignore_errors=True)
    return made


def trace(plan: Plan) -> list[float]:
    """Losses of 20 seeded steps of the plan at a small size on a fixed text."""
    texts = [f"{i} times {i} makes {i * i}, and {i} from {3 * i} leaves {2 * i}.\n" for i in range(60)]
    small = Plan(plan.two_way, plan.layers, 32, plan.heads, vocab=320, length=32, batch=4, steps=20, corpus=plan.corpus)
    tokenizer = small.tokenizer(texts)
    with progress.listening(None):
        history = train(
            small.start(tokenizer, 0).net,
            small.loss(tokenizer),
            Windows(tokenizer, texts, small.length, small.batch, 0),
            Steps(small.steps),
            Recipe(lr=plan.lr),
        )
    return [round(float(point["loss"]), 6) for point in history.curve]


def _traced(place: Path) -> list[float] | None:
    with contextlib.suppress(OSError, ValueError):
        found: Any = json.loads((place / "trace.json").read_text(encoding="utf-8"))
        return found if isinstance(found, list) else None
    return None


def _close(old: Sequence[float] | None, new: Sequence[float]) -> bool:
    return (
        old is not None
        and len(old) == len(new)
        and all(math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) for a, b in zip(old, new, strict=True))
    )


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """One process at a time in `place`; the others wait (where the system can lock files)."""
    with (place / ".lock").open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield
