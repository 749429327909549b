"""Passes that go a few rows at a time beside the same formulas over whole tensors.

    python benchmarks/kernels.py [--rounds 9] [--threads 1]

Forward and backward of one row of 2,048 positions, 512 wide (the convolution 640), float32, arms interleaved; a ratio
is the median over rounds of the whole pass's time divided by that of the pieces. Both are bound by memory: the pieces
are read and written again while they are in the cache.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from twofold.measure.costs import environment, interleaved
from twofold.parts import kernels

TIME, WIDTH, MIXED, TAPS = 2048, 512, 640, 4

Work = Callable[..., Tensor]


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def plain_conv(x: Tensor, weight: Tensor) -> Tensor:
    padded = F.pad(x, (0, 0, TAPS - 1, 0))
    taps = [padded[:, TAPS - 1 - k : TAPS - 1 - k + x.shape[1]] for k in range(TAPS)]
    y = taps[0] * weight[0]
    for k in range(1, TAPS):
        y = torch.addcmul(y, taps[k], weight[k])
    return y


def plain_sum(x: Tensor, weight: Tensor) -> Tensor:
    return torch.addcmul(x, x, weight)


PAIRS: dict[str, tuple[Work, Work, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "rms_norm": (plain_norm, lambda x, w: kernels.rms_norm(x, w, 1e-5), ((1, TIME, WIDTH), (WIDTH,))),
    "causal_conv": (plain_conv, lambda x, w: kernels.causal_conv(x, w, None), ((1, TIME, MIXED), (TAPS, MIXED))),
    "add_scaled": (plain_sum, lambda x, w: kernels.add_scaled(x, x, w), ((1, TIME, WIDTH), (WIDTH,))),
}


def training(work: Work, inputs: list[Tensor], given: Tensor) -> Callable[[], None]:
    def run() -> None:
        torch.autograd.grad(work(*inputs), inputs, given)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print(f"{environment()['cpu']}, {asked.threads} thread(s)")
    torch.manual_seed(0)
    for name, (plain, pieces, shapes) in PAIRS.items():
        inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
        given = torch.randn(shapes[0])
        arms = {"pieces": training(pieces, inputs, given), "whole": training(plain, inputs, given)}
        times = interleaved(arms, asked.rounds, warmup=2)
        print(f"{name:<12}{times.medians['pieces']:8.2f} ms  {times.ratios['whole']:5.2f} × as fast as whole tensors")


if __name__ == "__main__":
    main()
