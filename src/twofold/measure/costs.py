"""What a model costs: parameters, bytes, operations, time, and the machine they were measured on.

Peak memory is in `memory`.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from twofold.errors import UserError
from twofold.measure.memory import Peak, peak_memory
from twofold.parts import Block, Head, SequenceModel, count_weights
from twofold.parts.hierarchy import Hierarchy
from twofold.surgery import block_flops

__all__ = [
    "Cost",
    "Interleaved",
    "Latency",
    "Peak",
    "active_parameters",
    "block_bytes",
    "cost",
    "environment",
    "flops",
    "folder_bytes",
    "interleaved",
    "latency",
    "parameters",
    "peak_memory",
    "tensor_bytes",
    "trainable_parameters",
]


def parameters(net: nn.Module) -> int:
    """Numbers in the network's parameters; shared ones count once, packed ones as the plain ones they stand for."""
    return count_weights(net)


def trainable_parameters(net: nn.Module) -> int:
    """Numbers in the parameters that training changes; shared ones count once."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def active_parameters(net: nn.Module) -> int:
    """Numbers in the parameters that one token meets: all but those that parts say are idle (`idle_parameters`: experts
    that were not chosen, a guide that is switched off). Tables of embeddings count in full."""
    return parameters(net) - sum(getattr(part, "idle_parameters", 0) for part in net.modules())


@dataclass(frozen=True)
class Cost:
    """What a network costs, counted and not measured.

    Args:
        parameters: stored; shared ones count once.
        active: those that one token meets.
        flops: operations per token of one pass forward, multiplications and additions; training takes three times as
            many, as is usual (twice as many backward as forward).
        bytes: of parameters and buffers.
    """

    parameters: int
    active: int
    flops: float
    bytes: int


def cost(net: SequenceModel, length: int) -> Cost:
    """What a network costs per token, in sequences of `length` tokens. Exact: every part counts its own products.

    Linear maps, attention's scores and sums (half of them where attention is always causal) and the head count;
    element-wise work does not. Works on the meta device.

    Raises:
        UserError: a part that does not say what it costs; names it.
    """
    flops = net.flops(length) / length if isinstance(net, Hierarchy) else block_flops(net, length)
    if isinstance(net.head, Head):
        flops += net.head.flops(1, net.dim)
    elif net.head is not None:
        raise UserError(f"the head is a {type(net.head).__name__}, which does not say what it costs")
    return Cost(parameters(net), active_parameters(net), flops, tensor_bytes(net))


def training_flops(net: SequenceModel, length: int, tokens: int) -> float:
    """Operations of training on so many tokens, in sequences of `length`: forward, and twice as much backward.

    Kaplan et al. 2020, https://arxiv.org/abs/2001.08361, section 2.1
    """
    return 3 * cost(net, length).flops * tokens


def context_costs(net: SequenceModel, length: int) -> dict[str, float]:
    """What a context of so many tokens costs: `flops_per_token` of one pass, and `cache_bytes` of one row once it is
    full (left out where the network has no cache)."""
    found = {"flops_per_token": float(cost(net, length).flops)}
    try:
        cache = net.new_cache(1, length)
    except UserError:
        return found
    return found | {"cache_bytes": float(cache.bytes_at(length))}


def tensor_bytes(net: nn.Module) -> int:
    """Bytes of memory that parameters and buffers hold; tensors that share storage count once, views in full."""
    sizes: dict[tuple[Any, ...], int] = {}
    tensors: Iterable[Tensor] = [*net.parameters(), *net.buffers()]
    for tensor in tensors:
        storage = tensor.untyped_storage()
        # Tensors without data (on the meta device) have no address to tell them apart by.
        where = ("at", str(tensor.device), storage.data_ptr()) if storage.data_ptr() else ("of", storage._cdata)
        sizes[where] = storage.nbytes()
    return sum(sizes.values())


def block_bytes(net: nn.Module) -> int:
    """Bytes of what the transformer blocks of a network hold: all but embeddings and heads."""
    return sum(tensor_bytes(part) for part in net.modules() if isinstance(part, Block))


def folder_bytes(path: str | Path) -> int:
    """Bytes of a file, or of all files in a folder and below; links are not followed.

    Raises:
        UserError: nothing there.
    """
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    if not path.is_dir():
        raise UserError(f"there is no file or folder {str(path)!r} to measure; check the path")
    inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in inside if not file.is_symlink())


def flops(call: Callable[..., Any], *example: Any, **named: Any) -> int:
    """Floating-point operations of one call, counted by PyTorch (a multiplication and an addition are two).

    Matrix products, convolutions and attention count; element-wise work does not, as is usual. A network is called
    in evaluation mode, without gradients.

    Args:
        call: a network or a function.
        example: its arguments.
        named: its named arguments.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    modules = list(call.modules()) if isinstance(call, nn.Module) else []
    training = [m for m in modules if m.training]
    for module in training:
        module.training = False
    try:
        # The counter does not know the fused attention kernel of the CPU; the plain one is made of products it knows.
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False, custom_mapping=_uncounted()) as counter,
        ):
            call(*example, **named)
    finally:
        for module in training:
            module.training = True
    return int(counter.get_total_flops())


def _uncounted() -> dict[Any, Callable[..., int]]:
    """Products that PyTorch's counter does not know: those of groups of rows, where PyTorch has them."""
    if not hasattr(torch.ops.aten, "_grouped_mm"):
        return {}

    def rows_of_groups(rows: Sequence[int], weights: Sequence[int], *given: Any, **named: Any) -> int:
        return 2 * math.prod(rows) * weights[-1]

    return {torch.ops.aten._grouped_mm: rows_of_groups}


@dataclass(frozen=True)
class Latency:
    """Time of one call.

    Args:
        median: milliseconds.
        p95: milliseconds that 95 of 100 calls stay within.
        n: calls timed.
    """

    median: float
    p95: float
    n: int

    def as_dict(self) -> dict[str, float]:
        return {"median": self.median, "p95": self.p95, "n": self.n}


def latency(fn: Callable[[Any], Any], items: Sequence[Any], warmup: int = 3, repeats: int = 1) -> Latency:
    """Times `fn(item)` for every item, one at a time.

    Args:
        fn: what is timed; with a GPU its queue is emptied before and after every call.
        items: what it is called with.
        warmup: calls that are not timed.
        repeats: passes over the items.

    Raises:
        ValueError: no items or no repeats.
    """
    if not len(items) or repeats < 1:
        raise ValueError(f"latency of {len(items)} items, {repeats} repeats; at least one of each is needed")
    for call in range(warmup):
        fn(items[call % len(items)])
    with _uncollected():
        times = [_milliseconds(partial(fn, item)) for _ in range(repeats) for item in items]
    return Latency(float(np.median(times)), float(np.percentile(times, 95)), len(times))


@dataclass(frozen=True)
class Interleaved:
    """Times of several functions that took turns.

    Args:
        milliseconds: name to the time of every round, `[rounds]`.
        first: the function that the others are compared with.
    """

    milliseconds: Mapping[str, NDArray[np.float64]]
    first: str

    @property
    def medians(self) -> dict[str, float]:
        """Median milliseconds of every function."""
        return {name: float(np.median(times)) for name, times in self.milliseconds.items()}

    @property
    def ratios(self) -> dict[str, float]:
        """Median over rounds of a function's time divided by the first one's in the same round."""
        base = self.milliseconds[self.first]
        return {name: float(np.median(times / base)) for name, times in self.milliseconds.items()}


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int, warmup: int = 1) -> Interleaved:
    """Times functions in turns, so that a machine that slows down slows them all.

    Args:
        functions: name to a function without arguments; the first is what the others are compared with.
        rounds: timed calls of each. Every round begins with another function.
        warmup: untimed calls of each.

    Raises:
        ValueError: no functions or no rounds.
    """
    names = list(functions)
    if not names or rounds < 1:
        raise ValueError(f"timing {len(names)} functions for {rounds} rounds; at least one of each is needed")
    for name in names * warmup:
        functions[name]()
    times: dict[str, list[float]] = {name: [] for name in names}
    with _uncollected():
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                times[name].append(_milliseconds(functions[name]))
    return Interleaved({name: np.array(values) for name, values in times.items()}, names[0])


def environment() -> dict[str, Any]:
    """The machine and the versions: what a measured time depends on. No host names, users or paths."""
    allowed = getattr(os, "sched_getaffinity", None)
    found: dict[str, Any] = {
        "twofold": _version("twofold"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": len(allowed(0)) if allowed else os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection inside, so that none falls into a time."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _milliseconds(call: Callable[[], Any]) -> float:
    on_gpu = torch.cuda.is_initialized()
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter_ns()
    call()
    if on_gpu:
        torch.cuda.synchronize()
    return (time.perf_counter_ns() - start) / 1e6


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        if platform.system() == "Linux":
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
            return names[0] if names else platform.machine()
        if platform.system() == "Darwin":
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return platform.processor() or platform.machine()
