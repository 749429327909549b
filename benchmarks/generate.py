"""128 greedy tokens from `smollm2`: Twofold beside `transformers` in float32, on the same weights.

    python benchmarks/generate.py [--tokens 128] [--rounds 5] [--threads 1] [--json]

Every round has a prompt of its own, which both continue, in turns, with reading the prompt in the time. Neither ends
early. A ratio is the peer's time by Twofold's, the median over rounds; the tokens must be identical. What Twofold
makes of the network once (codes of its weights) is timed apart.

What bounds each: one token needs every weight once, so float32 reads 4 bytes for each of 135 million from memory.
The weights of this file lie on a grid, and Twofold reads one byte for each. What is left in both is the time between
operations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from twofold.decoding import generate
from twofold.measure import costs
from twofold.parts.ready import for_steps
from twofold.tasks import load

PEER = "transformers, float32"
PROMPTS = (
    "The history of the bicycle begins with",
    "def fibonacci(n):",
    "Water boils at a lower temperature on a mountain because",
    "Once upon a time, in a village by the sea,",
    "To bake bread at home, you need",
)


def theirs(model: Any, folder: Path) -> Any:
    """The same network in `transformers`."""
    from transformers import AutoModelForCausalLM

    from twofold.checkpoints import export_hf

    export_hf(model.net, model.tokenizer, folder, model.notes["config"])
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    peer.generation_config.eos_token_id = None
    peer.generation_config.pad_token_id = 0
    return peer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load("smollm2")
    with tempfile.TemporaryDirectory() as place:
        peer = theirs(model, Path(place) / "hf")
    started = time.perf_counter()
    net = for_steps(model.net)
    prepared = time.perf_counter() - started
    made: dict[str, list[list[int]]] = {PEER: [], "twofold": []}

    def ask_peer(ids: list[int], tokens: int) -> None:
        with torch.inference_mode():
            found = peer.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), max_new_tokens=tokens, do_sample=False
            )
        made[PEER].append(found[0, len(ids) :].tolist())

    def ask_ours(ids: list[int], tokens: int) -> None:
        made["twofold"].append(generate(net, [ids], tokens).ids[0].tolist())

    ways = {PEER: ask_peer, "twofold": ask_ours}
    for way in ways.values():
        way([model.start], 4)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds):
        ids = [model.start, *model.tokens([PROMPTS[turn % len(PROMPTS)]])[0]]
        names = list(ways) if turn % 2 else list(ways)[::-1]
        taken = costs.interleaved({name: partial(ways[name], ids, given.tokens) for name in names}, 1, warmup=0)
        for name in ways:
            times[name].append(float(taken.milliseconds[name][0]))
    ratios = np.array(times[PEER]) / np.array(times["twofold"])
    plain = 4 * costs.parameters(model.net)
    coded = sum(t.nbytes for t in _codes(net))
    read = {PEER: plain, "twofold": coded or plain}
    rows = [
        {
            "arm": name,
            "ms_per_token": float(np.median(times[name])) / given.tokens,
            "tokens_per_s": given.tokens / float(np.median(times[name])) * 1e3,
            "ratio": 1.0 if name == PEER else float(np.median(ratios)),
            "mb_read_per_token": read[name] / 1e6,
        }
        for name in ways
    ]
    about = {
        "environment": costs.environment(),
        "tokens": given.tokens,
        "rounds": given.rounds,
        "ratios": ratios.round(3).tolist(),
        "identical_tokens": made[PEER] == made["twofold"],
        "prepared_s": prepared,
    }
    if given.json:
        print(json.dumps({**about, "rows": rows}))
        return
    machine = about["environment"]
    print(f"{machine['cpu']}, {given.threads} thread(s), torch {machine['torch']}, {given.tokens} tokens a round")
    for row in rows:
        print(
            f"  {row['arm']:<24}{row['ms_per_token']:8.1f} ms a token {row['tokens_per_s']:7.1f} tokens/s "
            f"{row['ratio']:5.2f}×  reads {row['mb_read_per_token']:5.0f} MB a token"
        )
    print(f"tokens identical: {about['identical_tokens']}; codes made once in {prepared:.1f} s")


def _codes(net: torch.nn.Module) -> list[torch.Tensor]:
    """What products on codes read."""
    from twofold.parts.streamed import Streamed

    return [tensor for part in net.modules() if isinstance(part, Streamed) for tensor in part.read()]


if __name__ == "__main__":
    main()
