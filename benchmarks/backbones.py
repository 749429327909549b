"""Every backbone under one budget, on the same data, with paired seeds: what it learns, and what it costs.

    python benchmarks/backbones.py [--seeds 2] [--steps 150] [--only ssd,urpe] [--data docs/data/backbones.json]
    python benchmarks/backbones.py --yardsticks
    python benchmarks/backbones.py --speeds

Each is two blocks of width 64 by its name, and trained twice: on bytes of `pydoc` (bits per byte of unseen documents)
and on `mqar` (recall; there every mixer reads through a convolution of width 3, which those without one need). The
learning rate is the best of three in 40 % of the steps on a spare seed, judged on validation, for every one of them.
Speeds are taken in turns with attention's in the same process, so that the ratio holds on a busy machine too.

A run that is interrupted goes on where it was: what is measured stands in the data file, which is written beside and
renamed; a file of another budget is begun anew. Then the page `docs/backbones.md` and its figure are written from it
(`--page` writes them and measures nothing). One thread and two seeds take about an hour; the yardsticks that need no
training, which `--yardsticks` measures alone, take seconds, and `--speeds` takes all speeds again, for which nothing
else should run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from twofold.catalog import Steps, configure, index
from twofold.errors import UserError
from twofold.measure import costs
from twofold.measure.reports import plots
from twofold.parts import Mask, SequenceModel
from twofold.tasks import task

CONTEXTS = (1_024, 8_192, 65_536)
_SPARE = 1_000  # a seed that only chooses rates


def _layers(**entry: Any) -> list[dict[str, Any]]:
    return [{**entry, "times": 2}]


ATTENTION = {"kind": "attention", "position": "rope"}
EXPERTS = {
    "kind": "moe",
    "router": {"kind": "top-k", "experts": 4, "k": 1},
    "experts": {"kind": "experts", "count": 4, "hidden": 168, "activation": "silu", "gate": True},
}

# name → (what `backbone=` takes, the system whose page says more)
BACKBONES: dict[str, tuple[Any, str | None]] = {
    "attention": ("attention", "nope"),
    "attention, ALiBi": (_layers(mixer="attention", position="alibi"), None),
    "attention, T5 bias": (_layers(mixer="attention", position="t5"), None),
    "attention, no position": (_layers(mixer="attention", position="none"), "nope"),
    "attention, parallel": (_layers(mixer="attention", wiring="parallel"), None),
    "attention, experts": (_layers(mixer="attention", channel=EXPERTS), None),
    "differential attention": (_layers(mixer={"kind": "differential", "inner": ATTENTION, "layer": 1}), "diff-mamba"),
    "multiplicative": (_layers(mixer="multiplicative-attention"), None),
    "subspace attention": (_layers(mixer="mssa"), "crate"),
    "crate": ("crate", "crate"),
    "shaped-attention": (_layers(mixer="shaped-attention"), "simplified-transformer"),
    "window": (_layers(mixer={"kind": "window", "window": 32}), "masformer"),
    "block-local": (_layers(mixer={"kind": "block-local", "width": 32}), None),
    "random-blocks": (_layers(mixer={"kind": "random-blocks", "width": 16, "count": 2}), "genai-math"),
    "columns": (_layers(mixer={"kind": "column-attention", "stride": 16}), "sparse-transformer"),
    "summaries": (_layers(mixer={"kind": "summary-attention", "stride": 16, "summary": 1}), "sparse-transformer"),
    "strided": (_layers(mixer={"kind": "strided-attention", "stride": 16}), "sparse-transformer"),
    "fixed": (_layers(mixer={"kind": "fixed-attention", "stride": 16, "summary": 1}), "sparse-transformer"),
    "sparse-transformer": ("sparse-transformer", "sparse-transformer"),
    "combiner": (_layers(mixer={"kind": "combiner", "width": 16}), "combiner"),
    "causal-conv": (_layers(mixer={"kind": "causal-conv", "kernel": 16}), None),
    "masked-mixer": ("masked-mixer", "masked-mixer"),
    "spatial-gate": (_layers(mixer="spatial-gate", wiring="single", channel="none"), None),
    "lstm": ("lstm", None),
    "identity-rnn": ("identity-rnn", None),
    "ring-conv": (_layers(mixer={"kind": "ring-conv", "channels": 4, "positions": 16}), "wave-rnn"),
    "gated-retention": ("gated-retention", "yoco"),
    "ssd": ("ssd", "hydra"),
    "s6": (_layers(mixer="s6", wiring="single", channel="none"), "mambabyte"),
    "ssd, then attention": ([{"mixer": "ssd"}, {"mixer": "attention"}], None),
    "diff-mamba": ("diff-mamba", "diff-mamba"),
    "hyena": ("hyena", "laughing-hyena"),
    "laughing-hyena": ("laughing-hyena", "laughing-hyena"),
    "full, then blocks": ([{"mixer": "attention"}, {"mixer": {"kind": "block-local", "width": 32}}], "masformer"),
    "simplified-transformer": ("simplified-transformer", "simplified-transformer"),
    "swan-gpt": ("swan-gpt", "swan-gpt"),
    "yoco": ("yoco", "yoco"),
    "retention, then one cache": ([{"mixer": "gated-retention"}, {"shared": [{}]}], "yoco"),
    "attention, looped": ([{}, {"loop": [{}], "inject": True}], "abbie"),
    "genai-math": ("genai-math", "genai-math"),
    "urpe": ("urpe", "urpe"),
}


@dataclass(frozen=True)
class Plan:
    """What every backbone gets.

    Args:
        steps: of each training.
        recall: the made sequences.
        texts: of the test part that are scored.
        dim, layers, heads, length, batch: sizes; `batch` rows of `length` bytes.
        rounds: of timing.
        rates: of learning, of which each takes its best.
    """

    steps: int = 150
    recall: str = "mqar(time=32, pairs=4, symbols=32)"
    texts: int = 40
    dim: int = 64
    layers: int = 2
    heads: int = 4
    length: int = 128
    batch: int = 8
    rounds: int = 5
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)


def yardsticks(plan: Plan) -> dict[str, dict[str, Any]]:
    """Name → the system that needs no training, with options; one counts no more text than the networks read."""
    read = plan.steps * plan.batch * plan.length
    return {
        "n-gram": {"system": "n-gram", "options": {}},
        f"n-gram of {read:,} bytes": {"system": "n-gram", "options": {"limit": read}},
        "xz": {"system": "xz", "options": {}},
    }


def compare_yardsticks(path: Path, plan: Plan) -> dict[str, Any]:
    """Measures those that are missing, on the texts that the networks are judged by."""
    found, judge = read(path, plan), task("language")
    data = judge.read("pydoc")
    for name, entry in yardsticks(plan).items():
        known = found["yardsticks"].get(name, {})
        if all(known.get(key) == value for key, value in entry.items()):
            continue
        fitted = configure(entry["system"], **entry["options"]).fit(data, Steps(1))
        bits = judge.evaluate(fitted.model, data, "test", texts=plan.texts).figures["bits_per_byte"]
        found["yardsticks"][name] = {**entry, "bits_per_byte": float(bits)}
        write(path, json.dumps(found, indent=1) + "\n")
        print(f"{name}: bits_per_byte {bits:.3f}", flush=True)
    return found


def system(given: Any, plan: Plan, **options: Any) -> Any:
    """The language model, or solver, with that backbone."""
    sizes = {"dim": plan.dim, "layers": plan.layers, "heads": plan.heads, "length": plan.length, "batch": plan.batch}
    return configure("backbone", backbone=given, **{**sizes, **options})


def trained(given: Any, plan: Plan, figure: str, rate: float, steps: int, seed: int, part: str = "test") -> float:
    """One training, and the figure of one part: "bits_per_byte" of texts, or "recall" in made sequences."""
    if figure == "recall":
        judge, source, setting, name = task("solve"), plan.recall, {}, "accuracy"
        options: dict[str, Any] = {"conv": 3, "batch": 4 * plan.batch}
    else:
        judge, source, setting, name, options = task("language"), "pydoc", {"texts": plan.texts}, figure, {}
    data = judge.read(source)
    fitted = system(given, plan, lr=rate, **options).fit(data, Steps(steps), seed=seed)
    return float(judge.evaluate(fitted.model, data, part, **setting).figures[name])


FIGURES = {"bits_per_byte": min, "recall": max}
"""What is learnt, and which end of it is better."""


def rates(given: Any, plan: Plan) -> dict[str, float]:
    """The best rate for each figure, judged on validation after 40 % of the steps on a spare seed."""
    steps, found = max(1, round(0.4 * plan.steps)), {}
    for figure, better in FIGURES.items():
        scores: dict[float, float] = {}
        for rate in plan.rates:
            try:
                scores[rate] = trained(given, plan, figure, rate, steps, _SPARE, "validation")
            except UserError:  # training broke down, as it may at a high rate
                if rate == plan.rates[-1] and not scores:
                    raise
        found[figure] = better(scores, key=scores.__getitem__)
    return found


def network(given: Any, plan: Plan, length: int | None = None) -> SequenceModel:
    """The network that reads bytes, in contexts of so many tokens."""
    made: SequenceModel = system(given, plan, length=length or plan.length).network(260)
    return made


def cache_bytes(given: Any, plan: Plan) -> dict[str, int | None]:
    """Bytes of a row's cache behind each context; None where there is none."""
    found: dict[str, int | None] = {}
    for context in CONTEXTS:
        try:
            with torch.device("meta"):
                found[str(context)] = int(network(given, plan, context).new_cache(1, context).bytes_at(context))
        except UserError:
            found[str(context)] = None
    return found


def _training(net: SequenceModel, plan: Plan) -> Callable[[], None]:
    ids = torch.randint(0, 256, (plan.batch, plan.length))

    def run() -> None:
        net.zero_grad()
        net(ids, Mask.causal()).logsumexp(-1).mean().backward()

    return run


def _decoding(net: SequenceModel, plan: Plan) -> Callable[[], None] | None:
    """Eight tokens, one by one, for one row; None for a network that has no steps."""
    tokens = 8

    def run() -> None:
        with torch.inference_mode():
            cache = net.new_cache(1, plan.length)
            for token in torch.randint(0, 256, (tokens, 1, 1)).unbind(0):
                net(token, cache=cache)

    try:
        run()
    except UserError:
        return None
    return run


def speeds(given: Any, plan: Plan) -> dict[str, Any]:
    """Tokens a second in training and in decoding, and how many times attention's that is, in the same rounds."""
    found: dict[str, Any] = {}
    for name, prepare, tokens in (
        ("training", _training, plan.batch * plan.length),
        ("decoding", _decoding, 8),
    ):
        torch.manual_seed(0)
        first, own = (prepare(network(which, plan).train(name == "training"), plan) for which in ("attention", given))
        if own is None or first is None:
            found[name] = None
            continue
        times = costs.interleaved({"attention": first, "own": own}, plan.rounds)
        found[name] = {"tokens_per_second": 1e3 * tokens / times.medians["own"], "ratio": 1 / times.ratios["own"]}
    return found


def begun(given: Any, plan: Plan) -> dict[str, Any]:
    """A row before its first seed: rates, sizes and speeds."""
    return {
        "backbone": fingerprint(given),
        "rates": rates(given, plan),
        "parameters": costs.parameters(network(given, plan)),
        "cache_bytes": cache_bytes(given, plan),
        "speed": speeds(given, plan),
        **{figure: [] for figure in FIGURES},
    }


def fingerprint(given: Any) -> str:
    """What a backbone's name stands for; a row of another one is measured anew."""
    return json.dumps(given, sort_keys=True)


def read(path: Path, plan: Plan) -> dict[str, Any]:
    """What was measured under this plan before, or a file without rows."""
    fresh = {
        "plan": json.loads(json.dumps(asdict(plan))),
        "environment": costs.environment(),
        "rows": {},
        "yardsticks": {},
    }
    if not path.exists():
        return fresh
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is no JSON; remove it, or give another --data") from None
    return {**fresh, **found} if found.get("plan") == fresh["plan"] else fresh


def write(path: Path, text: str) -> None:
    """Beside, then renamed: what was there stays whole whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def run(path: Path, plan: Plan, seeds: int, chosen: Mapping[str, tuple[Any, str | None]] = BACKBONES) -> dict[str, Any]:
    """Measures what is missing: yardsticks, then seed after seed; the file is written after every one."""
    found = compare_yardsticks(path, plan)
    for seed in range(seeds):
        for name, (given, _) in chosen.items():
            row = found["rows"].get(name)
            if row is None or row["backbone"] != fingerprint(given):
                row = begun(given, plan)
            if len(row["recall"]) > seed:
                continue
            new = {figure: trained(given, plan, figure, row["rates"][figure], plan.steps, seed) for figure in FIGURES}
            found["rows"][name] = {**row, **{figure: [*row[figure], value] for figure, value in new.items()}}
            write(path, json.dumps(found, indent=1) + "\n")
            print(
                f"seed {seed}, {name}: " + ", ".join(f"{figure} {value:.3f}" for figure, value in new.items()),
                flush=True,
            )
    return found


def timed_again(path: Path, plan: Plan) -> dict[str, Any]:
    """The same file with speeds taken anew, which other work beside the trainings blurs."""
    found = read(path, plan)
    for name, row in found["rows"].items():
        row["speed"] = speeds(BACKBONES[name][0], plan)
        print(f"{name}: " + ", ".join(f"{kind} {_speed(each)}" for kind, each in row["speed"].items()), flush=True)
    write(path, json.dumps(found, indent=1) + "\n")
    return found


def mean(values: list[float]) -> float:
    return statistics.fmean(values)


def _size(count: int | None) -> str:
    if count is None:
        return "–"
    for unit, scale in (("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def _speed(found: Mapping[str, float] | None) -> str:
    return "–" if found is None else f"{found['tokens_per_second']:,.0f} ({found['ratio']:.2f} ×)"


def _linked(name: str, pages: Mapping[str, str]) -> str:
    system_id = BACKBONES[name][1] if name in BACKBONES else None
    return f"[{name}]({pages[system_id]})" if system_id in pages else name


def pages_of_systems() -> dict[str, str]:
    """Where each mixers system's results stand in the documentation."""
    cards = [card for card in index.cards() if card.get("family") == "mixers" and "claim" in card]
    return {card["id"]: f"results/mixers.md#{_slug(card['id'] + ': ' + card['title'])}" for card in cards}


def _slug(heading: str) -> str:
    """The anchor of a heading, as the pages are built (Markdown's own rule)."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def _cells(name: str, row: Mapping[str, Any], pages: Mapping[str, str]) -> list[str]:
    """A backbone's row of the table."""
    bits = row["bits_per_byte"]
    return [
        _linked(name, pages),
        f"{mean(bits):.3f}" + (f" ± {(max(bits) - min(bits)) / 2:.3f}" if len(bits) > 1 else ""),
        f"{mean(row['recall']):.1%}",
        f"{row['parameters']:,}",
        _speed(row["speed"]["training"]),
        _speed(row["speed"]["decoding"]),
        *(_size(row["cache_bytes"][str(context)]) for context in CONTEXTS),
    ]


def page(found: Mapping[str, Any]) -> str:
    """The documentation's page."""
    plan, rows, pages = found["plan"], found["rows"], pages_of_systems()
    known = found.get("yardsticks", {})
    counts = sorted({len(row["recall"]) for row in rows.values()})
    seeds = f"{counts[0]} seed" + ("s" if counts[0] > 1 else "")
    if len(counts) > 1:
        seeds = f"{counts[0]} to {counts[-1]} seeds"
    lines = [
        "# Backbones side by side",
        "",
        f"{len(rows)} backbones, each {plan['layers']} blocks of width {plan['dim']}, under one budget: "
        f"{plan['steps']} steps of {plan['batch']} × {plan['length']} bytes of `pydoc`, and {plan['steps']} steps of "
        f"{4 * plan['batch']} sequences of `{plan['recall']}`; {seeds}, the same for all. Each learns at the "
        "best of three rates, chosen on a spare seed. `python benchmarks/backbones.py` measures it again, and writes "
        "this page.",
        "",
        "![Recall against bits per byte](images/backbones.svg)",
        "",
        "| backbone | bits per byte | recall | parameters | training, tokens/s | decoding, tokens/s "
        "| cache at 1k | at 8k | at 64k |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    cells = {name: _cells(name, row, pages) for name, row in rows.items()}
    cells |= {name: [name, f"{row['bits_per_byte']:.3f}", *["–"] * (4 + len(CONTEXTS))] for name, row in known.items()}
    bits = {name: mean(row["bits_per_byte"]) for name, row in rows.items()}
    bits |= {name: row["bits_per_byte"] for name, row in known.items()}
    lines += [f"| {' | '.join(cells[name])} |" for name in sorted(bits, key=bits.__getitem__)]
    where = found["environment"]
    missing = [name for name in BACKBONES if name not in rows]
    itself = rows.get("attention", {}).get("speed", {})
    noise = " and ".join(f"{itself[kind]['ratio']:.2f}" for kind in ("training", "decoding") if itself.get(kind))
    lines += [
        "",
        "Bits per byte: of the first "
        f"{plan['texts']} unseen documents; ± is half of the distance between the seeds. Recall: the share of asked "
        "keys whose value is given; every mixer reads through a convolution of width 3 there, "
        "and windows and blocks of 32 see all of a sequence that is no longer, so that theirs is attention's. Speeds: "
        "on one row in "
        "decoding; in brackets, as a multiple of attention's in the same rounds, which is the figure to go by. The "
        "cache: of one row in float32; – where a mixer has no steps. "
        f"Measured on {where['cpu']}, {where['threads']} thread(s), PyTorch {where['torch']}.",
        *(["", _of_yardsticks(plan)] if known else []),
        *(["", f"Attention beside itself comes to {noise}: differences of that size are noise."] if noise else []),
        *(["", f"Not measured yet: {'; '.join(missing)}."] if missing else []),
        "",
        "So short a training says which backbone learns fast at this size, not which is best in the end.",
        "",
        "## What to type",
        "",
        "Rows of one name take it with layers and width behind it, such as `--set backbone=ssd-2x64`. The others are "
        'lists of layers, as `--set backbone="…"` takes them:',
        "",
        "| row | layers |",
        "|---|---|",
        *(f"| {name} | `{_typed(given)}` |" for name, (given, _) in BACKBONES.items() if given != name),
    ]
    return "\n".join(lines) + "\n"


def _typed(given: Any) -> str:
    """What `backbone=` takes, on one line."""
    text: str = yaml.safe_dump(given, default_flow_style=True, sort_keys=False, width=float("inf"))
    return text.removesuffix("...\n").strip()


def _of_yardsticks(plan: Mapping[str, Any]) -> str:
    return (
        "Two yardsticks need no network: `n-gram` counts the bytes of the whole training part (up to 32 MB), or of no "
        f"more of it than a network reads in {plan['steps']} steps, and `xz` compresses each document behind 64 kB of "
        "others. `--yardsticks` measures them alone. A network that needs more bits than counting has not learned yet "
        "what counting tells."
    )


def figure(found: Mapping[str, Any]) -> str:
    """Recall against bits per byte, as SVG."""
    rows = found["rows"]
    points = [
        plots.Point(name, mean(row["bits_per_byte"]), _percent(row, mean), _percent(row, min), _percent(row, max))
        for name, row in rows.items()
    ]
    drawn = plots.scatter(points, "bits per byte (less is better)", "recall, %", log_x=False)
    return "" if drawn is None else re.sub(r"var\(--[\w-]+,\s*([^)]+)\)", r"\1", drawn.wide)


def _percent(row: Mapping[str, Any], of: Callable[[list[float]], float]) -> float:
    return 100 * of(row["recall"])


def publish(found: Mapping[str, Any], docs: Path) -> None:
    """The page and its figure."""
    write(docs / "images" / "backbones.svg", figure(found))
    write(docs / "backbones.md", page(found))


def main() -> None:
    plan = Plan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=plan.steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", help="names of some, with commas between them")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--data", type=Path, help="where figures are kept (default: data/backbones.json of the docs)")
    parser.add_argument("--page", action="store_true", help="write the page from what is measured")
    parser.add_argument("--speeds", action="store_true", help="take all speeds again, with nothing else running")
    parser.add_argument("--yardsticks", action="store_true", help="measure only what needs no training")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = given.data or given.docs / "data" / "backbones.json"
    if given.page:
        return publish(json.loads(data.read_text(encoding="utf-8")), given.docs)
    if given.speeds:
        return publish(timed_again(data, Plan(steps=given.steps)), given.docs)
    if given.yardsticks:
        return publish(compare_yardsticks(data, Plan(steps=given.steps)), given.docs)
    chosen = BACKBONES
    if given.only:
        wanted = [name.strip() for name in given.only.split(",")]
        unknown = [name for name in wanted if name not in BACKBONES]
        if unknown:
            raise UserError(f"no backbone {unknown[0]!r} in the table; known: {'; '.join(BACKBONES)}")
        chosen = {name: BACKBONES[name] for name in wanted}
    publish(run(data, Plan(steps=given.steps), given.seeds, chosen), given.docs)


if __name__ == "__main__":
    main()
