"""Vectors of 2,000 paragraphs of `pydoc` from `minilm`: float32, bfloat16 and int8 beside sentence-transformers.

    python benchmarks/encode.py [--paragraphs 2000] [--rounds 5] [--threads 1] [--json]

The paragraphs are dealt into rounds at random; in each round every arm encodes the same ones, in turns, from text to
vectors. A ratio is the peer's time by the arm's, the median over rounds. The peer runs in float32 with PyTorch at the
batch size that is fastest on a sample. Where this processor multiplies bfloat16 slower than float32, that arm (and
the peer beside it) encodes only a few paragraphs a round.

What bounds each: float32, the matrix product: its rate is printed beside what a product of the same shapes reaches
alone. bfloat16, the same product, which is faster only where the processor has instructions for it. int8, the product
of bytes, and the rest in float32.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from twofold import computing
from twofold.checkpoints import pulled
from twofold.data import read
from twofold.errors import UserError
from twofold.measure import costs
from twofold.surgery import block_flops
from twofold.tasks import load

PEER = "sentence-transformers, float32"
BATCHES = (8, 16, 32, 64)
SAMPLE, FEW = 64, 8  # paragraphs to choose the batch size by; of a round where bfloat16 is slow
DTYPES = ("float32", "bfloat16", "int8")

Encode = Callable[[Sequence[str]], np.ndarray]


def paragraphs(count: int) -> list[str]:
    """So many paragraphs of docstrings, in an order of chance."""
    documents = read("pydoc").columns["document"]
    found = sorted({piece.strip() for text in documents for piece in text.split("\n\n") if piece.strip()})
    random.Random(0).shuffle(found)
    return found[:count]


def ours(model: Any, dtype: str, texts: Sequence[str]) -> np.ndarray:
    """Vectors as `twofold encode --dtype` makes them."""
    with computing.on(dtype=dtype, integers=True):
        vectors: np.ndarray = model.encode(texts).values.numpy()
    return vectors


def peer(folder: str) -> tuple[Encode, int]:
    """The peer at its best batch size, and that."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")

    def encode(texts: Sequence[str], size: int) -> np.ndarray:
        return np.asarray(model.encode(list(texts), batch_size=size, show_progress_bar=False))

    sample = paragraphs(SAMPLE)
    times = costs.interleaved({str(size): partial(encode, sample, size) for size in BATCHES}, 2)
    best = int(min(times.medians, key=times.medians.__getitem__))
    return partial(encode, size=best), best


def product(dtype: torch.dtype) -> float:
    """GFLOP/s of the largest product of this network, alone, in float32 or bfloat16."""
    x, weight = torch.randn(1024, 384).to(dtype), torch.randn(1536, 384).to(dtype)
    best = min(costs.interleaved({"": partial(torch.nn.functional.linear, x, weight)}, 20).milliseconds[""])
    return 2 * 1024 * 384 * 1536 / float(best) / 1e6


def turns(
    arms: dict[str, Encode], deals: Sequence[Sequence[str]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Milliseconds of each arm in each round, and its vectors."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    vectors: dict[str, list[np.ndarray]] = {name: [] for name in arms}

    def call(name: str, texts: Sequence[str]) -> None:
        vectors[name].append(arms[name](texts))

    for name in arms:
        arms[name](deals[0][:FEW])
    for turn, texts in enumerate(deals):
        names = list(arms)[turn % len(arms) :] + list(arms)[: turn % len(arms)]
        taken = costs.interleaved({name: partial(call, name, texts) for name in names}, 1, warmup=0)
        for name in arms:
            times[name].append(float(taken.milliseconds[name][0]))
    return {n: np.array(t) for n, t in times.items()}, {n: np.concatenate(v) for n, v in vectors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--paragraphs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folder = pulled("minilm")
    if folder is None:
        raise UserError("minilm is not here: twofold pull minilm")
    texts, model = paragraphs(given.paragraphs), load("minilm")
    deals = [texts[turn :: given.rounds] for turn in range(given.rounds)]
    theirs, size = peer(str(folder))
    rates = {dtype: product(getattr(torch, dtype)) for dtype in ("float32", "bfloat16")}
    slow = rates["bfloat16"] < rates["float32"]
    arms = {dtype: partial(ours, model, dtype) for dtype in DTYPES}
    fast = {PEER: theirs, **{dtype: arm for dtype, arm in arms.items() if not (slow and dtype == "bfloat16")}}
    runs = [(fast, deals)]
    if slow:
        runs.append(({PEER: theirs, "bfloat16": arms["bfloat16"]}, [deal[:FEW] for deal in deals]))
    lengths = {text: len(ids) for text, ids in zip(texts, model.tokens(texts, "document"), strict=True)}
    each = {length: block_flops(model.net.model, length) * length for length in set(lengths.values())}
    rows: dict[str, dict[str, Any]] = {}
    for some, dealt in runs:
        times, vectors = turns(some, dealt)
        whole = [text for deal in dealt for text in deal]
        for name in some:
            cosine = float((vectors[name] * vectors[PEER]).sum(1).min())
            seconds = float(times[name].sum()) / 1e3
            rows.setdefault(
                name,
                {
                    "arm": name if name == PEER else f"twofold, {name}",
                    "paragraphs": len(whole),
                    "paragraphs_per_s": len(whole) / seconds,
                    "ratio": float(np.median(times[PEER] / times[name])),
                    "ratios": (times[PEER] / times[name]).round(3).tolist(),
                    "least_cosine": cosine,
                    "gflops": sum(each[lengths[text]] for text in whole) / seconds / 1e9,
                },
            )
    about = {
        "environment": costs.environment(),
        "batch_size_of_peer": size,
        "tokens": sum(lengths.values()),
        "product_gflops": rates,
    }
    if given.json:
        print(json.dumps({**about, "rows": list(rows.values())}))
        return
    machine = about["environment"]
    print(f"{machine['cpu']}, {given.threads} thread(s), torch {machine['torch']}, {about['tokens']:,} tokens")
    print(f"the product alone: {rates['float32']:.0f} GFLOP/s in float32, {rates['bfloat16']:.0f} in bfloat16")
    for row in rows.values():
        print(
            f"  {row['arm']:<31}{row['paragraphs']:6,} paragraphs {row['paragraphs_per_s']:7.1f}/s  "
            f"{row['ratio']:5.2f}×  cosine ≥ {row['least_cosine']:.6f}  {row['gflops']:6.1f} GFLOP/s"
        )
    print(f"the peer's batch size: {size}, the fastest of {', '.join(map(str, BATCHES))}")


if __name__ == "__main__":
    main()
