"""Li's five proposals, each beside its rival, on a person's texts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from twofold.catalog import Steps, configure
from twofold.data.tokenizers import Tokenizer, train_bpe, train_likelihood, train_wordpiece
from twofold.measure.language import bits_per_byte
from twofold.parts import Mask, staircase
from twofold.tasks import Table
from twofold.tasks.language import LanguageData, LanguageModel
from twofold.training.cross_entropy import Between, Domain, cross_entropy_search

POSITIONS: dict[str, Any] = {
    "rope": "rope",
    "alibi": "alibi",
    "rope x harmonic": {"kind": "harmonic", "base": "rope"},
    "rope x 1/(1+distance)": {"kind": "reciprocal", "base": "rope"},
}
VECTORS: dict[str, Domain] = {
    "dim": Between(4, 64, log=True, whole=True),
    "window": Between(1, 6, whole=True),
    "shift": Between(1, 10, log=True),
    "power": Between(0.0, 1.0),
    "rare": [1, 2, 4, 8],
}


@dataclass(frozen=True)
class Plan:
    """How large the comparisons are."""

    steps: int
    length: int
    dim: int
    layers: int
    heads: int
    vocab: int
    texts: int
    rounds: int


def tokenizers(data: LanguageData, plan: Plan) -> Table:
    """Held-out bits a character when pieces are coded by how often training has them."""
    train, test = data.part("train")[: plan.texts], data.part("test")[: plan.texts]
    made = {
        "likelihood": train_likelihood(train, plan.vocab),
        "bpe": train_bpe(train, plan.vocab),
        "wordpiece (lower case)": train_wordpiece(train, plan.vocab),
    }
    rows = [(name, *unigram_bits(each, train, test)) for name, each in made.items()]
    return Table("1. Sub-word units", ("units", "bits per character", "characters per piece"), tuple(rows))


def unigram_bits(tokenizer: Tokenizer, train: Sequence[str], test: Sequence[str]) -> tuple[float, float]:
    """Bits a character of the test texts under smoothed piece frequencies; and characters a piece."""
    counts = np.full(tokenizer.vocab_size, 0.5)
    for ids in tokenizer.encode(train, specials=False):
        np.add.at(counts, ids, 1)
    cost = -np.log2(counts / counts.sum())
    pieces = [index for ids in tokenizer.encode(test, specials=False) for index in ids]
    characters = sum(map(len, test))
    return float(cost[pieces].sum() / characters), characters / max(1, len(pieces))


def settings(data: LanguageData, plan: Plan, seed: int) -> Table:
    """The best settings of word vectors after as many trials, by the cross-entropy method and by random search."""
    train, held = (_sentences(data.part(part)[: plan.texts]) for part in ("train", "validation"))

    def score(given: dict[str, Any]) -> float:
        return vector_score(train, held, given)

    searches = {
        "cross-entropy": cross_entropy_search(score, VECTORS, rounds=plan.rounds, samples=5, seed=seed),
        "random": cross_entropy_search(score, VECTORS, rounds=1, samples=5 * plan.rounds, seed=seed),
    }
    rows = [(name, trials[0].score, str(trials[0].settings)) for name, trials in searches.items()]
    return Table("2. Settings of word vectors", ("search", "best held-out AUC", "settings"), tuple(rows))


def _sentences(texts: Sequence[str]) -> list[list[str]]:
    return [[word.strip(".,:;()`'\"").lower() for word in text.split()] for text in texts]


def vector_score(train: list[list[str]], held: list[list[str]], given: dict[str, Any]) -> float:
    """How often a held-out pair of neighbours is nearer than a random pair (AUC), by vectors from a factored matrix.

    Skip-gram with negative sampling factors shifted pointwise mutual information (Levy & Goldberg 2014), so `shift` is
    the number of negatives, and `power` weighs singular values.
    """
    often = Counter(word for words in train for word in words if word)
    index = {word: i for i, (word, n) in enumerate(often.most_common(400)) if n >= given["rare"]}
    if len(index) <= given["dim"]:
        return 0.5
    seen = np.zeros((len(index), len(index)))
    for words in train:
        ids = [index.get(word, -1) for word in words]
        for gap in range(1, given["window"] + 1):
            pairs = [(a, b) for a, b in zip(ids, ids[gap:], strict=False) if a >= 0 and b >= 0]
            if pairs:
                np.add.at(seen, tuple(np.array(pairs).T), 1)
    seen += seen.T
    rows = seen.sum(1, keepdims=True).clip(1)
    information = np.log(np.maximum(seen, 1e-12) * rows.sum() / (rows * rows.T)) - math.log(given["shift"])
    left, values, _ = np.linalg.svd(np.maximum(information, 0))
    vectors = left[:, : given["dim"]] * values[: given["dim"]] ** given["power"]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    near = [
        (index[a], index[b])
        for words in held
        for a, b in itertools.pairwise(words)
        if a in index and b in index and a != b
    ][:2000]
    if not near:
        return 0.5
    a, b = np.array(near).T
    other = np.random.default_rng(0).permutation(b)
    true, false = (np.einsum("nd,nd->n", vectors[a], vectors[x]) for x in (b, other))
    return float((true > false).mean() + 0.5 * (true == false).mean())


def trained(data: LanguageData, plan: Plan, layer: dict[str, Any], seed: int) -> LanguageModel:
    """A small language model of equal layers."""
    layers = [{**layer, "times": plan.layers}]
    system = configure(
        "backbone", backbone=layers, dim=plan.dim, heads=plan.heads, length=plan.length, batch=16, lr=2e-3
    )
    model = system.fit(data, Steps(plan.steps), seed=seed).model
    assert isinstance(model, LanguageModel)
    return model


def positions(data: LanguageData, plan: Plan, seed: int) -> tuple[Table, LanguageModel]:
    """Bits per byte within the trained length and beyond it; and the model with rope."""
    rows, kept, test = [], None, data.part("test")[: plan.texts]
    far = " ".join(data.part("test"))
    for name, position in POSITIONS.items():
        model = trained(data, plan, {"position": position}, seed)
        kept = kept or model
        beyond = model.far([far], 3 * plan.length, 4 * plan.length)
        rows.append((name, model.score(test).bits_per_byte, beyond))
    assert kept is not None
    return Table("3. Positions", ("position", "bits per byte", "at 3 to 4 times the length"), tuple(rows)), kept


def blocks(data: LanguageData, plan: Plan, seed: int) -> Table:
    """Random blocks beside a sliding window that sees about as many pairs, and full attention."""
    width = max(1, plan.length // 16)
    shares: dict[str, dict[str, Any]] = {
        "all": {"mixer": "attention"},
        "random blocks": {"mixer": {"kind": "random-blocks", "width": width, "count": 4}},
        "sliding window": {"mixer": {"kind": "local-attention", "window": 4 * width - width // 2}},
    }
    rows, test = [], data.part("test")[: plan.texts]
    for name, layer in shares.items():
        model = trained(data, plan, layer, seed)
        rows.append((name, model.score(test).bits_per_byte, model.costs()["flops_per_token"]))
    return Table("4. Blocks of attention", ("blocks", "bits per byte", "operations per token"), tuple(rows))


@torch.inference_mode()
def caches(model: LanguageModel, data: LanguageData, tokens: int) -> Table:
    """Bits per token of a text that is read 16 tokens at a time, and what its cache takes."""
    text = " ".join(data.part("test"))
    ids = torch.tensor([[model.start, *model.tokens([text])[0]][:tokens]], device=model.device)
    stairs = {"16 bits": (), "staircase 8-4-2": ((1, 8), (2, 4), (4, 2)), "all 4 bits": ((1, 4),)}
    rows, net = [], model.net.eval()
    for name, steps in stairs.items():
        cache = staircase(net, 1, ids.shape[1], steps)
        logits = torch.cat([net(piece, Mask.causal(), cache) for piece in ids.split(16, 1)], 1)
        nats = torch.nn.functional.cross_entropy(logits[0, :-1].float(), ids[0, 1:])
        rows.append((name, bits_per_byte(float(nats), 1), cache.nbytes))
    return Table("5. Caches", ("cache", "bits per token", "bytes"), tuple(rows))
