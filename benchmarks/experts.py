"""How long experts take by the way tokens come to them, and a ternary layer packed and not.

    python benchmarks/experts.py

One pass forward, float32, one process, arms interleaved; ratios are medians over rounds of an arm's time divided by the
first one's in the same round. *sort* gathers each expert's tokens and runs all experts in one grouped product, *einsum*
multiplies with one-hot tensors (expert capacity twice its share, as in training), *loop* is a Python loop over experts
that picks each one's tokens. The loop is bound by the same products where experts are few and have many tokens each,
and by its calls where they are many.

A ternary layer packed reads a twentieth of the bytes of a dense one, but has to look each byte up: where numba is
installed in one pass, bound by a processor's gathers, which take as long for one number as a product does for eight;
with PyTorch's kernels in several passes over 32-bit indices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from twofold.measure.costs import environment, interleaved
from twofold.parts import BitLinear, Dense, Experts, Routing, TopK, capacity_of
from twofold.parts.experts import DISPATCH

DIM, HIDDEN, TOKENS = 64, 128, 512
COUNTS = {8: 12, 16: 12, 32: 12, 128: 9}  # experts, and how many rounds
WIDE = (768, 3072)  # of the ternary layer


def looped(experts: Experts, x: Tensor, routing: Routing, capacity: int | None) -> Tensor:
    """The answers, one expert after the other."""
    out = torch.zeros_like(x)
    for expert in range(experts.count):
        token, choice = (routing.index == expert).nonzero(as_tuple=True)
        token, choice = token[:capacity], choice[:capacity]
        hidden = experts.act(x[token] @ experts.up.weight[expert].T)
        out.index_add_(0, token, hidden @ experts.down.weight[expert].T * routing.weight[token, choice, None])
    return out


def dispatch() -> None:
    """Times every way to dispatch."""
    for count, rounds in COUNTS.items():
        torch.manual_seed(0)
        experts, router = Experts(DIM, HIDDEN, count).eval(), TopK(DIM, count, 2).eval()
        x = torch.randn(TOKENS, DIM)
        with torch.inference_mode():
            routing = router(x)
            limit = capacity_of(2.0, 2, TOKENS, count)
            arms: dict[str, Callable[[], Tensor]] = {
                name: partial(way, experts, x, routing, limit)
                for name, way in {"sort": DISPATCH["sort"], "loop": looped, "einsum": DISPATCH["einsum"]}.items()
            }
            times = interleaved(arms, rounds, warmup=1)
        print(f"{count} experts, top 2, {TOKENS:,} tokens of width {DIM}")
        for name, milliseconds in times.medians.items():
            print(f"  {name:<8}{milliseconds:10.3f} ms  {times.ratios[name]:6.2f} × sort")


def ternary() -> None:
    """Times a ternary layer beside a plain one, for one token."""
    torch.manual_seed(0)
    plain, bits = Dense(*WIDE, bias=False).eval(), BitLinear(*WIDE, bias=False).eval()
    packed, x = bits.pack().eval(), torch.randn(1, WIDE[0])
    with torch.inference_mode():
        entries = packed.weight.digits.numel()
        worth, index = torch.randn(entries // WIDE[1] * 256), torch.randint(0, 256, (entries,), dtype=torch.int32)
        arms = {
            "dense": partial(plain, x),
            "packed": partial(packed, x),
            f"{entries:,} look-ups": partial(torch.index_select, worth, 0, index),
            "rounded in every pass": partial(bits, x),
        }
        times = interleaved(arms, 40, warmup=2)
    print(f"a layer {WIDE[0]} → {WIDE[1]}, one token; packed at {packed.weight.bits_per_weight:.3f} bits a weight")
    for name, milliseconds in times.medians.items():
        print(f"  {name:<22}{milliseconds:9.3f} ms  {times.ratios[name]:6.2f} × dense")


def main() -> None:
    machine = environment()
    print(f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}")
    dispatch()
    ternary()


if __name__ == "__main__":
    main()
