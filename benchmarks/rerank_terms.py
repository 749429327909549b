"""How long 1,000 passages take to be put in order for a query: looked up (TILDEv2), and read (a cross-encoder).

    python benchmarks/rerank_terms.py

Two layers of width 128 in both, float32, untrained (the time is the same), arms interleaved in one process; ratios are
medians over rounds. The looked-up passages were encoded before, once; what that took is printed too. The query is
tokenised anew in every round.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from twofold.catalog import configure
from twofold.measure.costs import environment, interleaved
from twofold.tasks import task
from twofold.tasks.search import EncoderModel, PairModel
from twofold.tasks.search.passages import store_of

PASSAGES, ROUNDS = 1000, 5
SHAPE = {"backbone": "bert-2x128", "query_tokens": 16, "document_tokens": 64}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = arguments.parse_args().rounds
    data = task("search").read("pydoc")
    passages, query = list(data.documents[:PASSAGES]), data.queries[0]
    terms = configure("tildev2", **SHAPE, expansion=16, expander_steps=1).start(data, 0)
    reader = configure("cross-encoder", **SHAPE, overlap=False).start(data, 0)
    assert isinstance(terms, EncoderModel)
    assert isinstance(reader, PairModel)
    begun = time.perf_counter()
    stored = store_of(terms, terms.encode(passages))
    once = time.perf_counter() - begun
    everywhere = np.arange(PASSAGES)[None]
    arms: dict[str, Callable[[], object]] = {
        "cross-encoder": lambda: reader.pair_scores([query] * PASSAGES, passages),
        "tildev2": lambda: stored.among([query], everywhere),
    }
    times = interleaved(arms, rounds, warmup=1)
    machine = environment()
    print(f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}")
    print(f"{PASSAGES:,} passages, {stored.nbytes / PASSAGES:.0f} bytes each, encoded once in {once:.1f} s")
    for name, milliseconds in times.medians.items():
        print(f"  {name:<15}{milliseconds:10.2f} ms a query  {1 / times.ratios[name]:8.1f} × cross-encoder's speed")


if __name__ == "__main__":
    main()
