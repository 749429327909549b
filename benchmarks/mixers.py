"""Sequence mixers side by side: milliseconds against length, in training and in decoding, with fitted exponents.

    python benchmarks/mixers.py [--lengths 512,2048,8192] [--contexts 100,8000] [--rounds 5] [--threads 1] [--json]

Three tables, every mixer at width 256 and one row. *Length*: a forward pass and a training pass (forward and backward)
at each length, as a ratio to dense causal attention in the same round, and the exponent p of time ~ T^p between the two
longest. *Decoding*: one token with the cache of a long context already there, beside one with a short context. *Scan*:
a training pass of `selective_scan` beside the same recurrence as a loop under autograd, and beside `mambapy`'s parallel
scan where that package is installed.

What bounds them: attention, its T² logits from about 1,000 tokens on; SSD, the elementwise decays inside a chunk
(T · chunk · heads numbers) and its projections; S6, exponentials and passes over T · inner · state numbers, in blocks
that stay in the cache; Hyena, the transforms of dim · head_dim channels. Theory: T² and T¹ (Hyena T log T). In decoding
a state costs the same at any place, and keys and values cost what reading them costs.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from twofold.measure import costs
from twofold.parts import S6, SSD, Attention, Cache, Hyena, ImplicitFilter, Mixer, ModalFilter, Rope
from twofold.parts.scans import selective_scan

DIM = 256


def mixers() -> dict[str, Mixer]:
    """What is compared; the first is what the others are set against."""
    torch.manual_seed(0)
    return {
        "attention": Attention(DIM, 4, position=Rope(), causal=True),
        "ssd": SSD(DIM),
        "s6": S6(DIM),
        "hyena": Hyena(DIM, 64, ImplicitFilter(64)),
        "hyena, order 16": Hyena(DIM, 64, ModalFilter(64, 16)),
    }


def forward(mixer: Mixer, x: torch.Tensor) -> Callable[[], Any]:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return mixer(x)

    return run


def training(mixer: Mixer, x: torch.Tensor) -> Callable[[], Any]:
    def run() -> None:
        mixer.zero_grad()
        mixer(x.clone().requires_grad_()).square().mean().backward()

    return run


def exponent(times: Mapping[int, float]) -> float:
    """p of time ~ T^p between the two longest lengths."""
    (short, fast), (long, slow) = sorted(times.items())[-2:]
    return math.log(slow / fast) / math.log(long / short)


def by_length(lengths: list[int], rounds: int) -> list[dict[str, Any]]:
    made, rows = mixers(), []
    for kind, prepare in (("forward", forward), ("training", training)):
        found: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in made}
        for length in lengths:
            x = torch.randn(1, length, DIM)
            times = costs.interleaved({name: prepare(mixer, x) for name, mixer in made.items()}, rounds)
            for name in made:
                found[name][length] = times.medians[name], times.ratios[name]
        for name, at in found.items():
            row = {"pass": kind, "mixer": name, "milliseconds": {t: v[0] for t, v in at.items()}}
            row["ratio"] = {t: v[1] for t, v in at.items()}
            row["exponent"] = exponent(row["milliseconds"]) if len(lengths) > 1 else None
            rows.append(row)
    return rows


def decoding(contexts: list[int], rounds: int, rows: int = 4) -> list[dict[str, Any]]:
    """A step behind each context."""
    made: dict[str, Callable[[], Any]] = {}
    for name, mixer in mixers().items():
        for context in contexts:
            with torch.inference_mode():
                cache = mixer.new_cache(rows, context + 1)
                for piece in torch.randn(rows, context, DIM).split(512, 1):
                    mixer(piece, cache=cache)
            made[f"{name} at {context}"] = step(mixer, cache, torch.randn(rows, 1, DIM))
    times = costs.interleaved(made, 5 * rounds).medians
    short, long = min(contexts), max(contexts)
    return [
        {"mixer": name, **{str(c): times[f"{name} at {c}"] for c in contexts}}
        | {"longest / shortest": times[f"{name} at {long}"] / times[f"{name} at {short}"]}
        for name in mixers()
    ]


def step(mixer: Mixer, cache: Cache, x: torch.Tensor) -> Callable[[], Any]:
    def run() -> None:
        with torch.inference_mode():
            mixer(x, cache=cache)
            cache.rewind(1)

    return run


def scans(rounds: int, batch: int = 4, length: int = 512, inner: int = 128, state: int = 16) -> dict[str, Any]:
    """One training pass of the scan alone."""
    torch.manual_seed(0)
    u, b, c = torch.randn(batch, length, inner), torch.randn(batch, length, state), torch.randn(batch, length, state)
    dt, a = torch.rand(batch, length, inner) * 0.1, -torch.rand(state, inner) * 16

    def loop(u: torch.Tensor, dt: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        h, out = u.new_zeros(batch, state, inner), []
        for t in range(length):
            h = torch.exp(dt[:, t, None] * a) * h + (dt[:, t] * u[:, t])[:, None] * b[:, t, :, None]
            out.append((h * c[:, t, :, None]).sum(1))
        return torch.stack(out, 1)

    ways: dict[str, Callable[..., torch.Tensor]] = {"loop": loop, "twofold": lambda *given: selective_scan(*given)[0]}
    try:
        from mambapy.pscan import pscan

        def peer(u: torch.Tensor, dt: torch.Tensor, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
            decay = torch.exp(dt[..., None] * a.T)
            h = pscan(decay, (dt * u)[..., None] * b[:, :, None])
            return (h @ c[..., None])[..., 0]

        ways["mambapy"] = peer
    except ImportError:
        print("the package mambapy is not installed, so it does not take part: pip install mambapy")
    first = {name: way(u, dt, a, b, c) for name, way in ways.items()}
    for name, y in first.items():
        assert (y - first["loop"]).abs().max() < 1e-3, name

    def run(way: Callable[..., torch.Tensor]) -> Callable[[], Any]:
        def once() -> None:
            given = [t.clone().requires_grad_() for t in (u, dt, a, b, c)]
            way(*given).square().sum().backward()

        return once

    times = costs.interleaved({name: run(way) for name, way in ways.items()}, rounds)
    return {"sizes": [batch, length, inner, state], **times.medians, "ratios": times.ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", default="512,2048,8192")
    parser.add_argument("--contexts", default="100,8000")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    lengths, contexts = ([int(n) for n in text.split(",")] for text in (given.lengths, given.contexts))
    found = {
        "length": by_length(lengths, given.rounds),
        "decoding": decoding(contexts, given.rounds),
        "scan": scans(given.rounds),
    }
    if given.json:
        print(json.dumps({"environment": costs.environment(), "rounds": given.rounds, **found}))
        return
    print(f"width {DIM}, one row, {given.threads} thread(s), medians of {given.rounds}")
    for row in found["length"]:
        cells = "".join(f"{row['milliseconds'][t]:10.1f} ms ({row['ratio'][t]:5.2f}×)" for t in lengths)
        power = "" if row["exponent"] is None else f"   T^{row['exponent']:.2f}"
        print(f"  {row['pass']:<9}{row['mixer']:<16}{cells}{power}")
    for row in found["decoding"]:
        cells = "".join(f"   at {c}: {row[str(c)]:7.3f} ms" for c in contexts)
        print(f"  decoding {row['mixer']:<16}{cells}   {row['longest / shortest']:.2f}× as long")
    ratios = found["scan"]["ratios"]
    print(
        f"  scan {found['scan']['sizes']}: "
        + ", ".join(f"{n} {1 / r:.1f}× the loop's speed" for n, r in ratios.items())
    )


if __name__ == "__main__":
    main()
