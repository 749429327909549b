"""Randomness that depends on the step alone, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def plant(seed: int, index: int, stream: str, device: torch.device) -> None:
    """Set torch's generators for one purpose (`stream`) within one batch of one run."""
    digest = hashlib.blake2b(f"{seed}/{index}/{stream}".encode(), digest_size=4).digest()
    number = int.from_bytes(digest, "little")
    # torch.manual_seed also notes a stack trace for every accelerator that is not there: 40 times slower.
    torch.default_generator.manual_seed(number)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(number)


@contextlib.contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """Leave the caller's generators as they were."""
    accelerated = device.type != "cpu"
    with torch.random.fork_rng(
        devices=[device] if accelerated else [], device_type=device.type if accelerated else "cuda"
    ):
        yield
