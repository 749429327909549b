"""Lossless packing of weights: bytes, and megabytes a second there and back, beside Zstandard and the package `zipnn`.

    python benchmarks/packing.py [model.safetensors] [--threads 1] [--rounds 5]

Everything works from memory to memory (ours through a container in memory, checksums included), interleaved, on the
file cast to bfloat16 and on it as float32. By default the file is `minilm` (twofold pull minilm).

What bounds each: Zstandard, its search for matches, of which floats have few. Ours, packing: the Huffman coder on the
exponents (one byte in two, or in four), then the cut into planes, two passes over memory; unpacking: the interleaving
of planes and the checksum of every chunk. `zipnn` does the same in C without checksums, and reorders in place.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zstandard

from twofold.checkpoints import pulled, tensors
from twofold.coding import Container, Entry, layout, write
from twofold.measure import costs


def bytes_of(file: Path, dtype: torch.dtype) -> np.ndarray:
    """The floats of a file, one after the other, cast."""
    floats = [t.flatten().to(dtype) for t in tensors.load(file).values() if t.is_floating_point()]
    return torch.cat(floats).view(torch.uint8).numpy()


def packers(raw: np.ndarray, kind: str, dtype: str, threads: int) -> dict[str, tuple[Callable, Callable]]:
    """Name to (pack, unpack): from nothing to packed bytes, and from these to the raw ones."""
    place = Path(tempfile.mkdtemp()) / "x.tfz"  # a container is read through a memory map

    def pack() -> bytes:
        file = io.BytesIO()
        write(file, [Entry("all", raw, layout(kind))], threads=threads)
        return file.getvalue()

    def unpack(data: bytes) -> np.ndarray:
        if not place.exists():
            place.write_bytes(data)
        with Container(place) as found:
            return found.read(["all"], threads=threads)["all"]

    compressor, decompressor = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    data = raw.tobytes()
    found: dict[str, tuple[Callable, Callable]] = {
        "zstd-3": (lambda: compressor.compress(data), decompressor.decompress),
        "twofold": (pack, unpack),
    }
    try:
        from zipnn import ZipNN
    except ImportError:
        print("the package zipnn is not installed: pip install twofold[benchmarks]")
    else:
        peer = ZipNN(input_format="byte", bytearray_dtype=dtype, threads=threads)
        # It reorders the bytes it is given in place, so that it needs a copy; the copy is in its time.
        found["zipnn (peer)"] = (lambda: bytes(peer.compress(bytearray(data))), peer.decompress)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    file = given.file or (pulled("minilm") or Path("minilm is not here: twofold pull minilm")) / "model.safetensors"
    for kind, dtype in (("BF16", torch.bfloat16), ("F32", torch.float32)):
        name = str(dtype).removeprefix("torch.")
        raw = bytes_of(file, dtype)
        ways = packers(raw, kind, name, given.threads)
        packed = {who: pack() for who, (pack, _) in ways.items()}
        for who, (_, unpack) in ways.items():
            assert bytes(unpack(packed[who])) == raw.tobytes(), f"{who} lost something"
        there = costs.interleaved({who: pack for who, (pack, _) in ways.items()}, given.rounds, warmup=0)
        back = costs.interleaved(
            {who: lambda u=unpack, p=packed[who]: u(p) for who, (_, unpack) in ways.items()}, given.rounds, warmup=0
        )
        size = len(raw) / 1e6
        print(f"{name}, {size:.0f} MB, {given.threads} thread(s), medians of {given.rounds}; × is the speed of zstd-3")
        for who in ways:
            speeds = [f"{size / t.medians[who] * 1e3:6.0f} MB/s {1 / t.ratios[who]:4.1f}×" for t in (there, back)]
            print(f"  {who:<14}{len(packed[who]) / len(raw):7.4f}   there {speeds[0]}   back {speeds[1]}")


if __name__ == "__main__":
    main()
