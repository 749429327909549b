"""Designs that are trained and judged: one at a time, in a search, or all of a table on which searches are replayed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from twofold import computing, progress
from twofold.catalog import Steps
from twofold.data.cache import cached_json, digest
from twofold.data.tokenizers import Tokenizer
from twofold.errors import UserError
from twofold.measure.costs import parameters
from twofold.measure.graph_distance import graph_distances, placed
from twofold.parts import Design, MLMHead, SearchSpace, SequenceModel
from twofold.surgery import transfer_weights
from twofold.tasks.designs.proposers import Floats, Proposer
from twofold.tasks.represent import MaskedModel, PackedWindows
from twofold.tasks.represent.system import fill_in
from twofold.training import Recipe, train

Propose = Callable[[Floats, int], Proposer]
"""From the points of a pool and a seed to who proposes."""

WITHIN = 0.01
"""A design whose loss is so near to the least, as a share of it, counts as found."""
_JUDGED = 10  # every tenth text judges designs, and trains none


def network(design: Design, vocab: int, length: int) -> SequenceModel:
    """The encoder of a design, with a masked-language-model head and fresh weights.

    Raises:
        UserError: parts that do not go together.
    """
    net = design.pattern().network(vocab, max_len=length, head=False)
    return SequenceModel(net.embedding, net.stack, MLMHead(net.dim, vocab))


@dataclass(frozen=True)
class Trained:
    """One design that was trained.

    Args:
        design: what it is.
        loss: nats a hidden token of the texts that judge.
        parameters: of the network.
        net: the network, where it was kept.
        given: the share of its weights that came from another design.
    """

    design: Design
    loss: float
    parameters: int
    net: SequenceModel | None = None
    given: float = 0.0


@dataclass
class Bench:
    """The texts, tokens and training that are the same for every design.

    Args:
        texts: what may be learned from; every tenth of them judges.
        tokenizer: of all designs.
        length, batch, rate: windows, how many in a batch, and the share of tokens that is hidden.
        steps: of training each design.
        recipe: how.
        seed: of weights and batches.
        judged: at most so many texts judge.
    """

    texts: Sequence[str]
    tokenizer: Tokenizer
    length: int
    batch: int
    rate: float
    steps: int
    recipe: Recipe
    seed: int = 0
    judged: int = 100
    windows: PackedWindows = field(init=False)

    def __post_init__(self) -> None:
        if len(self.texts) < _JUDGED:
            raise UserError(
                f"there are {len(self.texts)} texts to learn from; a search needs at least {_JUDGED}, to judge by some"
            )
        self.judges = list(self.texts[::_JUDGED][: self.judged])
        learned = [text for place, text in enumerate(self.texts) if place % _JUDGED]
        self.windows = PackedWindows(self.tokenizer, learned, self.length, self.batch, self.seed)

    def train(self, design: Design, source: SequenceModel | None = None, seed: int | None = None) -> Trained:
        """Trains a design from fresh weights, or (`source`) from another network's where they overlap."""
        seed = self.seed if seed is None else seed
        torch.manual_seed(seed)
        net = network(design, self.tokenizer.vocab_size, self.length)
        given = transfer_weights(source, net) if source is not None else 0.0
        net = net.to(computing.device())
        with progress.listening(None):
            train(net, self.loss, self.windows, Steps(self.steps), self.recipe, seed=seed)
        model = MaskedModel(net.eval(), self.tokenizer, {"length": self.length})
        with progress.listening(None):
            filled = model.filled(self.judges, self.rate)
        loss = float(filled.nats.sum()) / max(1, int(filled.asked.sum()))
        return Trained(design, loss, parameters(net), net, given)

    def loss(self, net: Any, batch: Any) -> Any:
        """Masked language modelling."""
        return fill_in(net, batch, self.rate)

    def settings(self) -> str:
        """All that decides what becomes of a design, but for the texts."""
        own = (self.tokenizer.vocab_size, self.length, self.batch, self.rate, self.steps, repr(self.recipe), self.seed)
        return json.dumps([*own, self.judged])


def table(bench: Bench, designs: Sequence[Design], fingerprint: str) -> list[Trained]:
    """Every design trained from fresh weights; what is kept from before is not trained again.

    It is kept for as long as the design, the training, the texts (`fingerprint`) and what training does to a small
    fixed case stay the same.
    """
    key = digest(bench.settings(), fingerprint, digest("\n".join(bench.texts)), _trace())
    found = []
    with progress.stage(f"table of {len(designs)} designs", total=len(designs)) as stage:
        for design in designs:

            def make(design: Design = design) -> dict[str, float]:
                one = bench.train(design)
                return {"loss": one.loss, "parameters": one.parameters}

            kept = cached_json("designs", digest(key, design.id), make)
            found.append(Trained(design, float(kept["loss"]), int(kept["parameters"])))
            stage.advance(note=f"{design}: {found[-1].loss:.3f}")
    return found


@lru_cache(maxsize=1)
def _trace() -> str:
    """Losses of a few steps of a design with every operation, in four digits."""
    from twofold.data.tokenizers import ByteTokenizer
    from twofold.parts import OPERATIONS

    texts = [f"{i} times {i} makes {i * i}, and {i} from {3 * i} leaves {2 * i}." for i in range(40)]
    layers = [
        {"operation": name, "dim": 16 + 8 * (i % 2), "hidden": 16, "heads": 2} for i, name in enumerate(OPERATIONS)
    ]
    bench = Bench(texts, ByteTokenizer(), 32, 4, 0.15, 6, Recipe(lr=1e-2))
    return f"{bench.train(Design.read(layers)).loss:.4g}"


@dataclass(frozen=True)
class Replayed:
    """One search on a table: how many designs it asked for until one was within `WITHIN` of the best.

    Args:
        queries: that number.
        expected: what random draws need on average.
        seconds: of proposing.
    """

    queries: int
    expected: float
    seconds: float


def replay(losses: Sequence[float], points: Floats, propose: Propose, seed: int, given: int = 5) -> Replayed:
    """Searches a table from `given` designs that are not good enough, drawn by the seed."""
    values = np.asarray(losses)
    good = values <= values.min() * (1 + WITHIN)
    others = np.flatnonzero(~good)
    if len(others) <= given:
        raise UserError(
            f"{int(good.sum())} of {len(values)} designs are within {WITHIN:.0%} of the best, so there is nothing to "
            "search for; train them longer or take more of them"
        )
    drawn = np.random.default_rng((seed, given)).permutation(others)
    tried = [int(i) for i in drawn[:given]]
    expected = (len(values) - given + 1) / (int(good.sum()) + 1)
    proposer = propose(points, seed)
    started = time.perf_counter()
    queries = 0
    while True:
        chosen = proposer.ask(tried, [float(values[i]) for i in tried])
        queries += 1
        if good[chosen]:
            return Replayed(queries, expected, time.perf_counter() - started)
        tried.append(chosen)


@dataclass(frozen=True)
class Limits:
    """When a search ends.

    Args:
        queries: designs that are trained at most, those given at first included; None: no limit.
        seconds: after so many no further design is begun; None: no limit.
        fine: the share of either after which single layers of the best design are changed.
    """

    queries: int | None
    seconds: float | None
    fine: float = 0.5


def search(
    space: SearchSpace, bench: Bench, propose: Propose, limits: Limits, *, pool: int, given: int, run: int, seed: int
) -> list[Trained]:
    """Trains designs as they are proposed, each from the weights of the nearest that was trained before.

    Coarse, then fine: the pool begins with designs of runs of equal layers; halfway, those that differ from the best
    by one property of one layer join it.

    Args:
        space: of all designs.
        bench: trains and judges them.
        propose: makes who proposes, again when the pool grows.
        limits: of the whole.
        pool: designs that are drawn at first.
        given: of these, so many are trained before the first question.
        run: how many layers stand in a run.
        seed: of all draws.

    Returns:
        What was trained, in order.
    """
    rng = np.random.default_rng(seed)
    designs = space.sample(pool, rng, run)
    points = placed(graph_distances([space.graph(design) for design in designs]))
    proposer = propose(points, seed)
    first = [int(i) for i in rng.permutation(len(designs))[: max(1, given)]]
    tried: list[int] = []
    found: list[Trained] = []
    began, finer = time.perf_counter(), False
    with progress.stage("designs", total=limits.queries) as stage:

        def spent() -> float:
            by_time = 0.0 if limits.seconds is None else (time.perf_counter() - began) / limits.seconds
            return max(by_time, 0.0 if limits.queries is None else len(tried) / limits.queries)

        while not found or (spent() < 1 and len(tried) < len(designs)):
            if not finer and len(tried) >= len(first) and spent() >= limits.fine:
                finer = True
                best = min(found, key=lambda one: one.loss).design
                designs += [design for design in space.near(best) if design not in designs]
                points = placed(graph_distances([space.graph(design) for design in designs]))
                proposer = propose(points, seed + 1)
            losses = [one.loss for one in found]
            number = first[len(tried)] if len(tried) < len(first) else proposer.ask(tried, losses)
            source = None
            if tried:
                near = proposer.nearest(points[number], np.asarray(tried))
                source = found[tried.index(near)].net
            found.append(bench.train(designs[number], source))
            tried.append(number)
            stage.advance(note=f"{designs[number]}: {found[-1].loss:.3f}")
    return found
