"""A forward pass over texts of 32 to 2,048 tokens: BERT with padding, ModernBERT without, and what each change gives.

    python benchmarks/unpadding.py [--rounds 5] [--threads 1] [--json]

Random weights, widths and depths alike; tokens a second count real tokens only. Each arm is the one before it with
one change: the trunk, the window, the padding.

What bounds it: with padding, work on tokens that are none (three in four at these lengths); in global attention at
2,048 tokens and width 96, the product of all pairs; without both, the matrix products of the projections.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch

from twofold.measure import costs
from twofold.parts import MODERNBERT, SequenceModel, bert, modernbert, unpadded

VOCAB, LONGEST, TEXTS = 2048, 2048, 16


def padded(net: SequenceModel, ids: torch.Tensor, real: torch.Tensor) -> Callable[[], torch.Tensor]:
    """States of the padded batch."""
    return lambda: net.states(ids, real)


def packed(net: SequenceModel, ids: torch.Tensor, real: torch.Tensor) -> Callable[[], torch.Tensor]:
    """States without padding."""
    return lambda: unpadded(net, ids, real)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    lengths = torch.logspace(5, 11, TEXTS, base=2).round().long()
    real = torch.arange(LONGEST) < lengths[:, None]
    ids = torch.randint(0, VOCAB, real.shape) * real
    size = MODERNBERT["tiny"]
    plain = bert(VOCAB, size["dim"], size["layers"], size["heads"], hidden=4 * size["dim"], max_len=LONGEST).eval()
    modern = modernbert(VOCAB, **size).eval()
    everywhere = modernbert(VOCAB, **size, window=None).eval()
    arms = {
        "bert, padded": padded(plain, ids, real),
        "bert, unpadded": packed(plain, ids, real),
        "modernbert, window off, padded": padded(everywhere, ids, real),
        "modernbert, window off, unpadded": packed(everywhere, ids, real),
        "modernbert, padded": padded(modern, ids, real),
        "modernbert, unpadded": packed(modern, ids, real),
    }
    with torch.inference_mode():
        times = costs.interleaved(arms, given.rounds)
    tokens = int(real.sum())
    rows = [
        {"arm": name, "ms": times.medians[name], "tokens_per_s": tokens / times.medians[name] * 1e3,
         "times_faster": 1 / times.ratios[name]}
        for name in arms
    ]  # fmt: skip
    if given.json:
        print(json.dumps({"environment": costs.environment(), "rounds": given.rounds, "rows": rows}))
        return
    share = 1 - tokens / real.numel()
    texts = f"{TEXTS} texts of 32 to {LONGEST:,} tokens ({share:.0%} padding)"
    print(f"{texts}, {given.threads} thread(s), width {size['dim']}")
    for row in rows:
        print(
            f"  {row['arm']:<34}{row['ms']:8.0f} ms {row['tokens_per_s']:9,.0f} tokens/s   "
            f"{row['times_faster']:5.2f}× as fast"
        )


if __name__ == "__main__":
    main()
