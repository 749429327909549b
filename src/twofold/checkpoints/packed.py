"""Packed weight files: a safetensors file in fewer bytes, from which it comes back to the last bit.

.tfz    byte planes in chunks that are coded on their own (`twofold.coding.container`); one tensor is read without
        the rest, and a file may be stored as the difference to another
.zst    the whole file as one Zstandard frame, level 3
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import zstandard
from safetensors import SafetensorError
from torch import Tensor

from twofold.checkpoints.layout import Header, header
from twofold.checkpoints.replace import replacing_file
from twofold.coding import Container, Entry, Layout, layout, write
from twofold.coding.container import Lookup, Plane
from twofold.errors import UserError, unknown

PLAIN = ".safetensors"
SUFFIXES = (".tfz", ".zst")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Packing:
    """What packing a file gave.

    Attributes:
        raw: bytes of the safetensors file.
        coded: bytes of the packed file.
        planes: one entry a plane: bytes a number, the plane (0 is the lowest byte), bytes before and after, chunks
            by how they were stored.
    """

    raw: int
    coded: int
    planes: tuple[dict[str, Any], ...] = ()


def pack(
    source: Path, target: Path, *, base: Path | None = None, base_at: Path | None = None, threads: int | None = None
) -> Packing:
    """Packs a safetensors file; the ending of `target` says how.

    Args:
        source: a safetensors file.
        target: a `.tfz` or `.zst` file; replaced once it is complete.
        base: for `.tfz`, a safetensors or packed file (not a delta itself) that tensors of the same name are stored
            as the difference to, where that is smaller. Its place relative to `target` is kept.
        base_at: where the base will be instead, when the packed file is read.
        threads: that code, by default as many as PyTorch uses; the bytes do not depend on it.

    Raises:
        UserError: no safetensors file, another ending, or a file that cannot be written.
    """
    _known(target)
    with replacing_file(target) as file:
        if target.suffix == ".zst":
            if base is not None:
                raise UserError(f"{target.name} cannot hold a difference to a base; name the file .tfz")
            with _reading(source) as opened:
                coder = zstandard.ZstdCompressor(level=3)
                coder.copy_stream(opened, file, size=source.stat().st_size)
            planes: dict[Layout, list[Plane]] = {}
        else:
            head, data = _mapped(source)
            entries = [
                Entry(name, data[r.start : r.stop], layout(r.dtype, r.stop - r.start))
                for name, r in head.regions.items()
            ]
            threads = threads or torch.get_num_threads()
            with contextlib.ExitStack() as stack:
                lookup = stack.enter_context(_base(base)) if base is not None else None
                name = (
                    os.path.relpath(base_at or base, target.parent).replace(os.sep, "/") if base is not None else None
                )
                planes = write(file, entries, head.data, base=lookup, base_name=name, threads=threads)
    rows = tuple(
        {"bytes a number": kind.width, "rotated": kind.rotated, "plane": number, **_row(plane)}
        for kind, found in sorted(planes.items())
        for number, plane in enumerate(found)
    )
    return Packing(source.stat().st_size, target.stat().st_size, rows)


def unpack(source: Path, target: Path, *, base: Path | None = None, threads: int | None = None) -> Packing:
    """Writes the safetensors file that was packed, byte by byte the same.

    Args:
        source: a `.tfz` or `.zst` file.
        target: the file to write; replaced once it is complete.
        base: where the file is that a delta refers to, by default where it was when the delta was made.
        threads: that decode, by default as many as PyTorch uses.

    Raises:
        UserError: a damaged file (names the chunk), or a base that is missing or another.
    """
    _known(source)
    with replacing_file(target) as file:
        if source.suffix == ".zst":
            with _reading(source) as opened, _zstd(source):
                reader = zstandard.ZstdDecompressor().stream_reader(opened)
                shutil.copyfileobj(reader, file, _BLOCK)
        else:
            with Container(source) as container, _lookup(container, base) as lookup:
                file.write(container.head)
                for piece in container.pieces(lookup, threads or torch.get_num_threads()):
                    file.write(piece.data)
        file.flush()
        _complete(source, Path(file.name))
    return Packing(target.stat().st_size, source.stat().st_size)


def load(file: Path, names: Sequence[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a packed file, and its metadata.

    Args:
        file: a `.tfz` or `.zst` file.
        names: which tensors, by default all; the others are not decoded.

    Raises:
        UserError: a damaged file (names the chunk), no such tensor, or a base that is missing or another.
    """
    _known(file)
    if file.suffix == ".zst":
        return _load_zst(file, names)
    with Container(file) as container, _lookup(container, None) as lookup:
        head = _header(container)
        wanted = list(head.regions) if names is None else list(names)
        arrays = container.read(wanted, lookup, torch.get_num_threads())
        try:
            return {name: head.regions[name].tensor(data) for name, data in arrays.items()}, dict(head.metadata)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{file} is damaged or cannot be held here: {error}") from None


def find(file: Path) -> Path:
    """The file, or where it is not there, the packed file of the same name; the file itself if there is neither."""
    if not file.exists():
        for suffix in SUFFIXES:
            if file.with_suffix(suffix).exists():
                return file.with_suffix(suffix)
    return file


def _load_zst(file: Path, names: Sequence[str] | None) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _reading(file) as opened, _zstd(file):
        data = zstandard.ZstdDecompressor().stream_reader(opened).read()
    try:
        tensors = safetensors.torch.load(data)
        metadata = dict(header(data).metadata)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{file} is damaged or holds no safetensors file ({error}); copy it again") from None
    missing = next((n for n in names or () if n not in tensors), None)
    if missing is not None:
        raise UserError(f"{file} holds no tensor {missing!r}; it holds {', '.join(list(tensors)[:5])}, …")
    return tensors if names is None else {name: tensors[name] for name in names}, metadata


def _header(container: Container) -> Header:
    """The safetensors header that a container keeps; it must describe what the container holds."""
    try:
        head = header(container.head)
    except ValueError as error:
        raise UserError(f"{container.path} is damaged: {error}; copy or download it again") from None
    sizes = {name: region.stop - region.start for name, region in head.regions.items()}
    if sizes != {name: entry.length for name, entry in container.entries.items()}:
        raise UserError(f"{container.path} is damaged: its header describes other tensors; copy or download it again")
    return head


def _mapped(file: Path) -> tuple[Header, np.ndarray]:
    """Header and tensor bytes of a safetensors file, memory-mapped."""
    with _reading(file) as opened:
        empty = not opened.read(1)
    try:
        data = np.zeros(0, np.uint8) if empty else np.memmap(file, np.uint8, "r")
        head = header(data.data)
        if len(head.data) + head.size != len(data):
            raise ValueError(f"{len(data):,} bytes in place of {len(head.data) + head.size:,}")
    except ValueError as error:
        raise UserError(f"{file} is damaged or no safetensors file ({error}); copy or download it again") from None
    return head, np.asarray(data[len(head.data) :])


@contextlib.contextmanager
def _base(file: Path) -> Iterator[Lookup]:
    """The arrays of a file that deltas refer to."""
    file = find(file)
    if file.suffix in SUFFIXES:
        if file.suffix != ".tfz":
            raise UserError(f"{file} cannot be a base; give a safetensors or .tfz file")
        with Container(file) as container:
            if container.base is not None:
                raise UserError(f"{file} is a difference itself, and cannot be a base; give the file it refers to")
            yield lambda name: container.read([name])[name] if name in container.entries else None
    else:
        head, data = _mapped(file)
        regions = head.regions
        yield lambda name: data[regions[name].start : regions[name].stop] if name in regions else None


@contextlib.contextmanager
def _lookup(container: Container, base: Path | None) -> Iterator[Lookup | None]:
    """The base that a container's deltas refer to: the one given, or where its writer had it."""
    if container.base is None:
        yield None
        return
    if base is None:
        told = Path(container.base)
        # The name comes from the file: it may lead to a weight file nearby, and to nothing else.
        if told.is_absolute() or told.suffix not in (PLAIN, *SUFFIXES):
            raise UserError(f"{container.path} is damaged: it refers to {container.base!r}; copy or download it again")
        base = container.path.parent / told
        if not find(base).is_file():
            raise UserError(
                f"{container.path} is stored as the difference to {container.base}, which is not there; put it there"
            )
    with _base(base) as lookup:
        yield lookup


def _complete(source: Path, written: Path) -> None:
    """What was unpacked must be a safetensors file."""
    try:
        _mapped(written)
    except UserError:
        raise UserError(
            f"{source} is damaged: what it holds is no safetensors file; copy or download it again"
        ) from None


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[Any]:
    try:
        opened = open(file, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise UserError(f"there is no file {file}") from None
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror or error})") from None
    with opened:
        yield opened


@contextlib.contextmanager
def _zstd(file: Path) -> Iterator[None]:
    try:
        yield
    except (zstandard.ZstdError, MemoryError) as error:
        raise UserError(f"{file} is damaged or no Zstandard file ({error}); copy or download it again") from None


def _row(plane: Plane) -> dict[str, Any]:
    counts = asdict(plane)
    return {"bytes": counts["raw"], "coded": counts["coded"], **counts["chunks"]}


def _known(file: Path) -> None:
    if file.suffix not in SUFFIXES:
        raise unknown("ending of a packed file", file.suffix or file.name, SUFFIXES)


__all__ = ["PLAIN", "SUFFIXES", "Packing", "find", "load", "pack", "unpack"]
