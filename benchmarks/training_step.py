"""One training step of a small ModernBERT beside the same network in `transformers`: milliseconds and ratio.

    python benchmarks/training_step.py [--rounds 9] [--threads 1] [--json]

Masked language modelling, 30 % of the tokens hidden, the same weights, texts and AdamW (fused) on both sides. Theirs
runs with scaled-dot-product attention and `sparse_prediction`, its fastest setting here: the head sees hidden tokens
alone, as ours does. Two kinds of batches: full windows, and texts of mixed lengths (theirs padded, ours without
padding and packed into one row). Losses are compared first and must agree to 1e-4.

What bounds it: matrix products of the projections (about two thirds of the time at this size), the rest being the
optimizer and elementwise work over states, which is memory traffic; at mixed lengths, the share that is padding.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable

import torch

from twofold.checkpoints import export_hf
from twofold.measure import costs
from twofold.objectives import IGNORED, masked
from twofold.parts import SequenceModel, modernbert, pack_texts

VOCAB, LENGTH, BATCH = 2048, 128, 16
SIZES = {"dim": 256, "layers": 6, "heads": 4, "hidden": 384}


def hidden(ids: torch.Tensor, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with 30 % of the real ones replaced by the mask (4), and the labels."""
    chosen = (torch.rand(ids.shape) < 0.3) & real
    return torch.where(chosen, 4, ids), torch.where(chosen, ids, IGNORED)


def ours(net: SequenceModel, ids: torch.Tensor, labels: torch.Tensor, real: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A step without padding: texts end to end in one row where lengths differ, windows as they are elsewhere."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def loss() -> torch.Tensor:
        if bool(real.all()):
            states, wanted = net.states(ids), labels
        else:
            packed = pack_texts([row[own] for row, own in zip(ids, real, strict=True)])
            states, wanted = net.states(packed.ids[None], packed.mask), labels[real][None]
        asked = wanted != IGNORED
        return masked(net.apply_head(states[asked]), wanted[asked]).value

    return _step(optimizer, loss)


def theirs(
    net: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor, real: torch.Tensor
) -> Callable[[], torch.Tensor]:
    """A padded step of the network in `transformers`."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    mask = None if bool(real.all()) else real.long()
    return _step(optimizer, lambda: net(input_ids=ids, attention_mask=mask, labels=labels).loss)


def _step(optimizer: torch.optim.Optimizer, loss: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
        return value.detach()

    return step


def both(ids: torch.Tensor, real: torch.Tensor) -> dict[str, Callable[[], torch.Tensor]]:
    """Steps of both from the same weights, their first losses compared."""
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(0)
    net = modernbert(VOCAB, **SIZES, head="mlm").train()
    with tempfile.TemporaryDirectory() as place:
        folder = export_hf(net, None, f"{place}/net")
        peer = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="sdpa", sparse_prediction=True).train()
    given, labels = hidden(ids, real)
    steps = {"transformers": theirs(peer, given, labels, real), "twofold": ours(net, given, labels, real)}
    first = {name: float(step()) for name, step in steps.items()}
    assert abs(first["transformers"] - first["twofold"]) < 1e-4, first
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(1)
    ids = torch.randint(8, VOCAB, (BATCH, LENGTH))
    lengths = torch.linspace(16, LENGTH, BATCH).long()
    mixed = torch.arange(LENGTH) < lengths[:, None]
    rows = []
    for kind, real in (("full windows", torch.ones_like(mixed)), ("mixed lengths", mixed)):
        times = costs.interleaved(both(ids * real, real), given.rounds)
        faster = 1 / times.ratios["twofold"]
        rows.append({"batch": kind, "tokens": int(real.sum()), **times.medians, "times_faster": faster})
    if given.json:
        print(json.dumps({"environment": costs.environment(), "rounds": given.rounds, "rows": rows}))
        return
    print(f"ModernBERT {SIZES}, batch {BATCH} x {LENGTH}, {given.threads} thread(s), medians of {given.rounds}")
    for row in rows:
        print(
            f"  {row['batch']:<14}{row['tokens']:6,} tokens   transformers {row['transformers']:7.1f} ms   "
            f"twofold {row['twofold']:7.1f} ms   {row['times_faster']:.2f}× as fast"
        )


if __name__ == "__main__":
    main()
