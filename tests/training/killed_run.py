"""Trains in child processes, kills them with SIGKILL, and prints how often, and what came of it.

The torch library is loaded once; children are forked before any gradient is computed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from twofold.catalog.claims import Budget, Steps, Tokens
from twofold.training import train

from .tiny import Tiny, batches, loss

KILLS = 4


def slowly(step: int, share: float) -> dict[str, torch.Tensor]:
    time.sleep(0.002)
    return batches(step, share)


def child(budget: Budget, folder: Path | None, result: Path) -> int:
    """Fork a process that trains to the end and then writes a digest of the weights; gives its id."""
    process = os.fork()
    if process == 0:
        net = Tiny()
        history = train(net, loss, slowly, budget, folder=folder, save_every=0.008)
        weights = b"".join(tensor.numpy().tobytes() for tensor in net.state_dict().values())
        losses = [point["loss"] for point in history.curve]
        result.write_text(json.dumps([hashlib.sha256(weights).hexdigest(), losses]))
        os._exit(0)
    return process


def undisturbed(budget: Budget, folder: Path | None, result: Path) -> None:
    """Train to the end."""
    _, status = os.waitpid(child(budget, folder, result), 0)
    if status:
        raise SystemExit(1)


def killed_at_random(budget: Budget, folder: Path, result: Path) -> int:
    """Kill the run at random moments, each after it has got further than before; gives how often."""
    written = folder / "checkpoint.json"
    for kills in range(KILLS):
        before = written.stat().st_mtime_ns if written.exists() else 0
        process = child(budget, folder, result)
        while not written.exists() or written.stat().st_mtime_ns == before:
            if os.waitpid(process, os.WNOHANG)[0]:
                return kills  # it came to its end
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.03))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        if result.exists():
            return kills
    return KILLS


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.ones(1)])  # the first optimizer of a process loads much of torch; once is enough
    outcomes = {}
    for budget in (Steps(90), Tokens(1400)):
        name = type(budget).__name__
        whole, result = folder / f"{name}-whole.json", folder / f"{name}-killed.json"
        undisturbed(budget, None, whole)
        kills = killed_at_random(budget, folder / name, result)
        undisturbed(budget, folder / name, result)
        outcomes[name] = [kills, json.loads(whole.read_text()), json.loads(result.read_text())]
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
