"""How long a feed-forward part takes, dense and with 63 % and 32 % of its weights, in one pass forward.

    python benchmarks/lowrank_ffn.py

Width 768, hidden 3,072, float32, arms interleaved in one process; ratios are medians over rounds of the dense time
divided by the arm's in the same round. Many tokens: bound by arithmetic, so operations decide (1.6 and 3.2 times
fewer), but for the nonlinearity, which all arms share. One token: bound by reading the weights from memory, so their
bytes decide, and `merged` (U·V as one matrix) reads as many as dense.
"""

from __future__ import annotations

from functools import partial

import torch

from twofold.measure.costs import environment, interleaved
from twofold.parts import FFN, replace_linears

DIM, HIDDEN = 768, 3072
TOKENS = {4096: 12, 1: 200}  # and how many rounds
KINDS = {"dense": "dense", "63 %": "lowrank(0.5)", "32 %": "lowrank(0.25)"}


def main() -> None:
    torch.manual_seed(0)
    arms = {name: FFN(DIM, HIDDEN, bias=False, linear=kind).eval() for name, kind in KINDS.items()}
    merged = FFN(DIM, HIDDEN, bias=False, linear=KINDS["32 %"]).eval()
    replace_linears(merged, lambda _, part: part.merge())
    arms["32 % merged"] = merged
    machine = environment()
    print(f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}")
    for tokens, rounds in TOKENS.items():
        x = torch.randn(1, tokens, DIM)
        with torch.inference_mode():
            times = interleaved({name: partial(arm, x) for name, arm in arms.items()}, rounds, warmup=2)
        print(f"{tokens:,} tokens")
        for name, milliseconds in times.medians.items():
            rate = arms[name].flops(tokens) / milliseconds / 1e6
            faster = 1 / times.ratios[name]
            print(f"  {name:<12}{milliseconds:9.3f} ms  {faster:5.2f} × dense  {rate:7.1f} GFLOP/s in its products")


if __name__ == "__main__":
    main()
