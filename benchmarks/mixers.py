"""Sequence mixers side by side: milliseconds against length, in training and in decoding, with fitted exponents.

    python benchmarks/mixers.py [--lengths 512,2048,8192] [--contexts 100,512,8192] [--rounds 5] [--threads 1]
                                [--json] [--docs docs] [--page]

Three tables, every mixer at width 256 and one row. *Length*: a forward pass and a training pass (forward and backward)
at each length, as a ratio to dense causal attention in the same round, and the exponent p of time ~ T^p between the two
longest, beside the exponent of the operations. Four linear maps alone, as attention has them, show how time grows
where operations grow like T and only memory is farther away. *Decoding*: one token with the cache of a long context
already there, beside one with a short context. *Scan*: a training pass of `selective_scan` beside the same recurrence
as a loop under autograd. `x-transformers` (its attention) and `mambapy` (its scan) take part where they are installed.

What bounds them: attention, its T² logits from about 1,000 tokens on; patterns, the logits of the pairs that they see,
written and read where attention's kernel keeps them in the cache; SSD, its projections (two fifths of a forward pass at
2,048 tokens), then small products within and between chunks, with one pass each around them where numba is installed;
S6, exponentials and passes over T · inner · state numbers, in blocks that stay in the cache, in one pass with numba;
Hyena, the transforms of dim · head_dim channels. In decoding a state costs the same at any place, and keys and values
cost what reading them costs.

With `--docs` the figures also go to `data/mixers.json` there, and into the page `mixers.md` with its figure; `--page`
writes the page anew from that file and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from twofold.cli.files import write_text
from twofold.measure import costs
from twofold.measure.reports import plots
from twofold.parts import (
    S6,
    SSD,
    Attention,
    BlockLocal,
    Cache,
    GatedRetention,
    Hyena,
    ImplicitFilter,
    LocalAttention,
    Mixer,
    ModalFilter,
    Rope,
    StridedAttention,
)
from twofold.parts.scans import selective_scan

DIM, HEADS = 256, 4
PEER = "x-transformers' attention"
MAPS = "four linear maps alone"


def mixers() -> dict[str, Mixer]:
    """What is compared; the first is what the others are set against."""
    torch.manual_seed(0)
    return {
        "attention": Attention(DIM, HEADS, position=Rope(), causal=True),
        "window 128": LocalAttention(DIM, HEADS, 128, position=Rope(), causal=True),
        "block-local 128": BlockLocal(DIM, HEADS, 128, position=Rope(), causal=True),
        "strided 64": StridedAttention(DIM, HEADS, 64, position=Rope(), causal=True),
        "ssd": SSD(DIM),
        "s6": S6(DIM),
        "gated-retention": GatedRetention(DIM, HEADS),
        "hyena": Hyena(DIM, 64, ImplicitFilter(64)),
        "hyena, order 16": Hyena(DIM, 64, ModalFilter(64, 16)),
    }


def peer() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The same attention of x-transformers, its rotations computed once before; None where it is not installed."""
    try:
        from x_transformers.x_transformers import Attention as Theirs
        from x_transformers.x_transformers import RotaryEmbedding
    except ImportError:
        print("the package x-transformers is not installed, so it does not take part: pip install x-transformers")
        return None
    net = Theirs(DIM, dim_head=DIM // HEADS, heads=HEADS, causal=True, flash=True)
    rotations, known = RotaryEmbedding(DIM // HEADS), {}

    def run(x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] not in known:
            known[x.shape[1]] = rotations.forward_from_seq_len(x.shape[1])
        out, _ = net(x, rotary_pos_emb=known[x.shape[1]], return_intermediates=True)
        return out

    return run


def forward(mixer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], Any]:
    def run() -> torch.Tensor:
        with torch.inference_mode():
            return mixer(x)

    return run


def training(mixer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], Any]:
    def run() -> None:
        if isinstance(mixer, torch.nn.Module):
            mixer.zero_grad()
        mixer(x.clone().requires_grad_()).square().mean().backward()

    return run


def exponent(times: Mapping[int, float]) -> float:
    """p of time ~ T^p between the two longest lengths."""
    (short, fast), (long, slow) = sorted(times.items())[-2:]
    return math.log(slow / fast) / math.log(long / short)


def _maps(length: int) -> float:
    """Operations of the four linear maps that attention has; the others go to the pairs that it sees."""
    return 8.0 * length * DIM**2


def by_length(lengths: list[int], rounds: int) -> list[dict[str, Any]]:
    """Both passes of every mixer at every length."""
    made: dict[str, Callable[[torch.Tensor], torch.Tensor]] = dict(mixers())
    work = {name: {t: float(mixer.flops(t)) for t in lengths} for name, mixer in mixers().items()}
    seen = {
        name: {t: work[name][t] - _maps(t) for t in lengths}
        for name, mixer in mixers().items()
        if isinstance(mixer, Attention)
    }
    theirs, rows = peer(), []
    if theirs is not None:
        made[PEER], work[PEER] = theirs, work["attention"]
    made[MAPS] = torch.nn.Sequential(*(torch.nn.Linear(DIM, DIM, bias=False) for _ in range(4)))
    work[MAPS] = {t: _maps(t) for t in lengths}
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
            if len(lengths) > 1:
                row |= {"exponent": exponent(row["milliseconds"]), "theory": exponent(work[name])}
                if name in seen:
                    row["pairs"] = exponent(seen[name])
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


def measured(lengths: list[int], contexts: list[int], rounds: int) -> dict[str, Any]:
    """All three tables, and where they were measured."""
    return {
        "environment": costs.environment(),
        "rounds": rounds,
        "length": by_length(lengths, rounds),
        "decoding": decoding(contexts, rounds),
        "scan": scans(rounds),
    }


def _lengths(found: Mapping[str, Any]) -> list[str]:
    return [str(t) for t in found["length"][0]["milliseconds"]]


def page(found: Mapping[str, Any]) -> str:
    """The documentation's page."""
    lengths, where = _lengths(found), found["environment"]
    contexts = [key for key in found["decoding"][0] if key.isdigit()]
    lines = [
        "# What a mixer costs by length",
        "",
        f"One layer's mixer of width {DIM}, one row, float32, {where['threads']} thread(s) of {where['cpu']}, PyTorch "
        f"{where['torch']}. In brackets the time beside attention's in the same round, the median of "
        f"{found['rounds']}; that is the figure to go by. p: time grows like T^p between the two longest; beside it "
        "the p of the counted operations, and of the pairs of tokens that a pattern of attention sees. `python "
        "benchmarks/mixers.py --docs docs` measures it again, and writes this page; `twofold show ssd` draws one "
        "mixer's block with its cost and its cache.",
        "",
        "![Time against length](images/mixers.svg)",
    ]
    for kind, title in (("forward", "Forward"), ("training", "Training: forward and backward")):
        lines += [
            "",
            f"## {title}",
            "",
            f"| mixer | {' | '.join(f'{int(t):,} tokens' for t in lengths)} | p | of operations | of pairs |",
        ]
        lines.append("|---|" + "---|" * (len(lengths) + 3))
        for row in found["length"]:
            if row["pass"] == kind:
                cells = [f"{row['milliseconds'][t]:,.1f} ms ({row['ratio'][t]:.2f} ×)" for t in lengths]
                powers = [f"{row[name]:.2f}" if name in row else "–" for name in ("exponent", "theory", "pairs")]
                lines.append(f"| {' | '.join([row['mixer'], *cells, *powers])} |")
    lines += ["", "## Decoding", "", "One token for each of four rows, behind a context that is in the cache.", ""]
    lines.append(f"| mixer | {' | '.join(f'behind {int(c):,}' for c in contexts)} | longest beside shortest |")
    lines.append("|---|" + "---|" * (len(contexts) + 1))
    for row in found["decoding"]:
        cells = [f"{row[c]:.2f} ms" for c in contexts]
        lines.append(f"| {' | '.join([row['mixer'], *cells])} | {row['longest / shortest']:.2f} × |")
    scan, ratios = found["scan"], found["scan"]["ratios"]
    batch, length, inner, state = scan["sizes"]
    lines += [
        "",
        "## The selective scan",
        "",
        f"A training pass over {batch} × {length} × {inner} with {state} states: {scan['twofold']:.0f} ms, "
        f"{1 / ratios['twofold']:.1f} times the speed of the recurrence as a loop"
        + (
            f", {ratios['mambapy'] / ratios['twofold']:.1f} times that of mambapy's parallel scan."
            if "mambapy" in ratios
            else "."
        ),
        "",
        "## What bounds them",
        "",
        *(__doc__ or "").split("What bounds them: a")[1].split("\n\n")[0].join(["A", ""]).splitlines(),
    ]
    return "\n".join(lines) + "\n"


def figure(found: Mapping[str, Any]) -> str:
    """Milliseconds of training against length, as SVG."""
    rows = [row for row in found["length"] if row["pass"] == "training"]
    lengths = _lengths(found)
    drawn = plots.lines(
        [
            plots.Line(row["mixer"], [int(t) for t in lengths], [row["milliseconds"][t] for t in lengths])
            for row in rows
        ],
        "tokens",
        "milliseconds of a training pass",
        markers=True,
        log_x=True,
        log_y=True,
    )
    return "" if drawn is None else re.sub(r"var\(--[\w-]+,\s*([^)]+)\)", r"\1", drawn.wide)


def publish(found: Mapping[str, Any], docs: Path) -> None:
    """The page and its figure."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    write_text(figure(found), docs / "images" / "mixers.svg")
    write_text(page(found), docs / "mixers.md")


def show(found: Mapping[str, Any]) -> None:
    """The tables on the screen."""
    where = found["environment"]
    print(f"width {DIM}, one row, {where['threads']} thread(s), medians of {found['rounds']}")
    for row in found["length"]:
        cells = "".join(f"{row['milliseconds'][t]:10.1f} ms ({row['ratio'][t]:5.2f}×)" for t in _lengths(found))
        power = f"   T^{row['exponent']:.2f} (operations T^{row['theory']:.2f})" if "exponent" in row else ""
        print(f"  {row['pass']:<9}{row['mixer']:<26}{cells}{power}")
    for row in found["decoding"]:
        cells = "".join(f"   at {c}: {row[c]:7.3f} ms" for c in row if c.isdigit())
        print(f"  decoding {row['mixer']:<16}{cells}   {row['longest / shortest']:.2f}× as long")
    ratios = found["scan"]["ratios"]
    speeds = ", ".join(f"{name} {1 / ratio:.1f}× the loop's speed" for name, ratio in ratios.items())
    print(f"  scan {found['scan']['sizes']}: {speeds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lengths", default="512,2048,8192")
    parser.add_argument("--contexts", default="100,512,8192")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--docs", type=Path, help="the documentation's folder, where the page is to be written")
    parser.add_argument("--page", action="store_true", help="write the page from what is measured (needs --docs)")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = None if given.docs is None else given.docs / "data" / "mixers.json"
    if given.page and data is not None:
        return publish(json.loads(data.read_text(encoding="utf-8")), given.docs)
    lengths, contexts = ([int(n) for n in text.split(",")] for text in (given.lengths, given.contexts))
    found = json.loads(json.dumps(measured(lengths, contexts, given.rounds)))  # keys as a file has them
    print(json.dumps(found)) if given.json else show(found)
    if data is not None:
        data.parent.mkdir(parents=True, exist_ok=True)
        write_text(json.dumps(found, indent=1) + "\n", data)
        publish(found, given.docs)


if __name__ == "__main__":
    main()
