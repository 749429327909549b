"""A file of named byte arrays, cut into chunks that are coded on their own: any one can be read without the rest.

    magic           8 bytes
    head            version, chunk size, bytes of the table, of the unpacked table and of the index, CRC-32 of the rest
                    of the head, the table and the index
    table           a Zstandard frame: length of a JSON object, the object, and bytes that the writer keeps (`head`)
    index           for each entry, for each chunk: a word for each plane (coder << 28 | coded bytes), and the CRC-32
                    of the chunk as it was before it was coded
    chunks          the coded planes, one after the other

All numbers are little-endian and unsigned. The object holds `base` (the name of the file that deltas refer to, or
null) and `entries`: name, bytes a number, rotated or not, bytes, and for a delta the CRC-32 of the base's array.
Chunks follow one another without gaps, so the index says where each one is. Nothing in the file depends on how many
threads wrote it.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from numpy.typing import NDArray

from twofold.coding.entropy_bytes import Bytes, Coder, Layout, Probe, decode, join, split, unframed
from twofold.coding.ordered import in_order
from twofold.errors import UserError

MAGIC = b"\x89TFZ\r\n\x1a\n"  # text-mode transfer breaks it, as it should
VERSION = 1
CHUNK = 1 << 18
GROUP = 8
"""Chunks that share a probe; a group is what one thread works on."""

_HEAD = struct.Struct("<IIQQQI")
_TABLE_LIMIT = 1 << 28  # bytes: safetensors allows headers of 100 MB
_CHUNK_LIMIT = 1 << 24
_WIDEST = 16
_LENGTH = (1 << 28) - 1

Lookup = Callable[[str], Bytes | None]
"""The array of that name in the base file; None where it has none."""


@dataclass(frozen=True)
class Entry:
    """A byte array to be written.

    Attributes:
        name: not used twice.
        data: its bytes, `[n]`.
        layout: of the numbers in it.
    """

    name: str
    data: Bytes
    layout: Layout


@dataclass
class Plane:
    """What became of one plane over all chunks: bytes before and after, and chunks by how they were stored."""

    raw: int = 0
    coded: int = 0
    chunks: dict[str, int] = field(default_factory=lambda: {coder.name.lower(): 0 for coder in Coder})


@dataclass(frozen=True)
class Stored:
    """An entry of a container that was opened.

    Attributes:
        name: its name.
        layout: of the numbers in it.
        length: bytes it unpacks to.
        base: CRC-32 of the base's array, for a delta; else None.
        words: `[chunks, planes]`, as the index has them.
        checks: `[chunks]`, CRC-32.
        offsets: `[chunks]`, where in the file each begins.
    """

    name: str
    layout: Layout
    length: int
    base: int | None
    words: NDArray[np.uint32]
    checks: NDArray[np.uint32]
    offsets: NDArray[np.int64]


def write(
    file: BinaryIO,
    entries: Sequence[Entry],
    head: bytes = b"",
    *,
    base: Lookup | None = None,
    base_name: str | None = None,
    threads: int = 1,
) -> dict[Layout, list[Plane]]:
    """Writes a container.

    Args:
        file: where to, from its current place; must be seekable.
        entries: the arrays, in the order of their chunks.
        head: bytes that are kept beside them.
        base: arrays that those of the same name and length are stored as the difference to, where that is smaller.
        base_name: what the base is called, for the reader.
        threads: that code; the bytes do not depend on it.

    Returns:
        What became of the planes, by layout, lowest byte first.
    """
    deltas = [_delta(entry, base(entry.name)) if base is not None else None for entry in entries]
    listed = [
        [e.name, e.layout.width, int(e.layout.rotated), len(e.data), None if d is None else zlib.crc32(d.data)]
        for e, d in zip(entries, deltas, strict=True)
    ]
    told = json.dumps({"base": base_name, "entries": listed}, separators=(",", ":")).encode()
    plain = struct.pack("<I", len(told)) + told + head
    table = zstandard.ZstdCompressor(level=12).compress(plain)
    sizes = [_chunks(len(e.data), CHUNK) * 4 * (e.layout.width + 1) for e in entries]
    place = file.tell()
    file.write(bytes(len(MAGIC) + _HEAD.size) + table + bytes(sum(sizes)))
    index = bytearray()
    planes: dict[Layout, list[Plane]] = {}
    groups = (
        (entry, delta, start)
        for entry, delta in zip(entries, deltas, strict=True)
        for start in range(0, len(entry.data), GROUP * CHUNK)
    )
    for width, coded in in_order(_coded, groups, threads):
        counted = planes.setdefault(width, [Plane() for _ in range(width.width)])
        for chunk in coded:
            for plane, (coder, data), size in zip(counted, chunk.planes, chunk.sizes, strict=True):
                file.write(data)
                plane.raw += size
                plane.coded += len(data)
                plane.chunks[coder.name.lower()] += 1
            words = [coder << 28 | len(data) for coder, data in chunk.planes]
            index += struct.pack(f"<{len(words) + 1}I", *words, chunk.check)
    end = file.tell()
    fields = (VERSION, CHUNK, len(table), len(plain), len(index))
    check = zlib.crc32(index, zlib.crc32(table, zlib.crc32(_HEAD.pack(*fields, 0))))
    file.seek(place)
    file.write(MAGIC + _HEAD.pack(*fields, check) + table + index)
    file.seek(end)
    return planes


class Container:
    """A container that is open for reading. Whatever is in the file, reading it ends in its content or a `UserError`.

    Args:
        path: the file; it is memory-mapped.

    Raises:
        UserError: not a container, damaged, cut off, or of a newer version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._data = _mapped(self.path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        data, start = self._data, len(MAGIC) + _HEAD.size
        if data[: len(MAGIC)] != MAGIC:
            raise UserError(f"{self.path} is not a packed tensor file: it does not begin like one")
        if len(data) < start:
            raise self._cut("its head")
        version, self._chunk, packed, plain, index, check = _HEAD.unpack(data[len(MAGIC) : start])
        if version != VERSION:
            raise UserError(
                f"{self.path} is of version {version}, this Twofold reads version {VERSION}; upgrade: pip install -U "
                "twofold"
            )
        after = start + packed + index
        if after > len(data):
            raise self._cut("its table and index")
        counted = zlib.crc32(_HEAD.pack(version, self._chunk, packed, plain, index, 0))
        if zlib.crc32(data[start:after], counted) != check:
            raise self._damaged("its table or index fails the checksum")
        try:
            if plain > _TABLE_LIMIT or not 0 < self._chunk <= _CHUNK_LIMIT or self._chunk % _WIDEST:
                raise ValueError("sizes out of bounds")
            table = unframed(data[start : start + packed], plain)
            (told,) = struct.unpack_from("<I", table)
            listed = json.loads(table[4 : 4 + told])
            self.head = table[4 + told :]
            base = listed["base"]
            self.base = None if base is None else str(base)
            self.entries = self._entries(listed["entries"], data[start + packed : after], after)
        except (ValueError, TypeError, KeyError, IndexError, struct.error, RecursionError) as error:
            raise self._damaged(f"its table cannot be read ({str(error)[:80]})") from None
        self._check_end()

    def _entries(self, listed: list[Any], index: bytes, offset: int) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        place = 0
        for name, width, rotated, length, base in listed:
            if not (isinstance(name, str) and name not in found):
                raise ValueError("names are not unique texts")
            if not all(isinstance(v, int) for v in (width, rotated, length, 0 if base is None else base)):
                raise ValueError(f"sizes of {name!r} are not whole numbers")
            known = width in (1, 2, 4, 8) and (not rotated or width > 1)
            if not known or length < 0 or length % width:
                raise ValueError(f"{name!r} has planes that do not fit its bytes")
            chunks = _chunks(length, self._chunk)
            size = 4 * chunks * (width + 1)
            if place + size > len(index):
                raise ValueError(f"the index ends before {name!r}")
            rows = np.frombuffer(index, "<u4", chunks * (width + 1), place).reshape(chunks, width + 1)
            coded = (rows[:, :-1] & _LENGTH).sum(1, dtype=np.int64)
            ends = offset + np.cumsum(coded)
            layout = Layout(width, bool(rotated))
            found[name] = Stored(name, layout, length, base, rows[:, :-1], rows[:, -1], ends - coded)
            place += size
            offset = int(ends[-1]) if chunks else offset
        if place != len(index):
            raise ValueError("the index is longer than the table says")
        self._end = offset
        return found

    def _check_end(self) -> None:
        size = len(self._data)
        if size > self._end:
            raise self._damaged(f"{size - self._end:,} bytes follow its last chunk")
        if size < self._end:
            for entry in self.entries.values():
                for chunk in range(len(entry.checks)):
                    if entry.offsets[chunk] + (entry.words[chunk] & _LENGTH).sum(dtype=np.int64) > size:
                        raise self._cut(_where(entry, chunk))

    def read(self, names: Sequence[str], base: Lookup | None = None, threads: int = 1) -> dict[str, Bytes]:
        """The arrays of these names; no other chunk of the file is touched.

        Args:
            names: of entries.
            base: arrays of the file that deltas refer to.
            threads: that decode.

        Raises:
            UserError: no such entry, a damaged chunk (is named), or a base that is missing or another.
        """
        missing = next((name for name in names if name not in self.entries), None)
        if missing is not None:
            raise UserError(f"{self.path} holds no tensor {missing!r}; it holds {', '.join(list(self.entries)[:5])}, …")
        try:
            made = {name: np.empty(self.entries[name].length, np.uint8) for name in names}
        except MemoryError:
            raise UserError(f"the tensors of {self.path} are too large for this machine's memory") from None
        bases = {name: self._base(self.entries[name], base) for name in names}
        chunks = ((self.entries[n], bases[n], made[n], c) for n in names for c in range(len(self.entries[n].checks)))
        for _ in in_order(self._fill, chunks, threads):
            pass
        return made

    def pieces(self, base: Lookup | None = None, threads: int = 1) -> Iterator[Bytes]:
        """All arrays one after the other, in chunks; few are in memory at a time.

        Raises:
            UserError: as `read`.
        """
        bases = ((entry, self._base(entry, base)) for entry in self.entries.values())
        chunks = ((entry, known, c) for entry, known in bases for c in range(len(entry.checks)))
        yield from in_order(lambda job: self._decoded(*job), chunks, threads)

    def close(self) -> None:
        """Lets go of the file."""
        if isinstance(self._data, mmap.mmap):
            self._data.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _fill(self, job: tuple[Stored, Bytes | None, Bytes, int]) -> None:
        entry, base, target, chunk = job
        start = chunk * self._chunk
        target[start : start + self._chunk] = self._decoded(entry, base, chunk)

    def _decoded(self, entry: Stored, base: Bytes | None, chunk: int) -> Bytes:
        start = chunk * self._chunk
        size = min(self._chunk, entry.length - start)
        place = int(entry.offsets[chunk])
        planes = []
        try:
            for word in entry.words[chunk].tolist():
                end = place + (word & _LENGTH)
                planes.append(decode(self._data[place:end], Coder(word >> 28), size // entry.layout.width))
                place = end
        except ValueError as error:
            raise self._damaged(f"{_where(entry, chunk)} cannot be decoded ({str(error)[:80]})") from None
        raw = join(planes, entry.layout)
        if base is not None:
            raw = raw ^ base[start : start + size]
        if zlib.crc32(raw.data) != int(entry.checks[chunk]):
            raise self._damaged(f"{_where(entry, chunk)} fails its checksum")
        return raw

    def _base(self, entry: Stored, base: Lookup | None) -> Bytes | None:
        if entry.base is None:
            return None
        found = base(entry.name) if base is not None else None
        if found is None or len(found) != entry.length or zlib.crc32(found.data) != entry.base:
            raise UserError(
                f"{self.path} is stored as the difference to {self.base}, and {entry.name!r} "
                f"{'is not there' if found is None else 'there is another'}; give the file it was made with as base"
            )
        return found

    def _cut(self, where: str) -> UserError:
        return UserError(f"{self.path} is cut off in {where}; copy or download it again")

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged: {what}; copy or download it again")


@dataclass(frozen=True)
class _Chunk:
    planes: list[tuple[Coder, bytes]]
    sizes: list[int]
    check: int


def _coded(job: tuple[Entry, Bytes | None, int]) -> tuple[Layout, list[_Chunk]]:
    """The chunks of one group, each plane under a probe of its own."""
    entry, base, begin = job
    probes = [Probe() for _ in range(entry.layout.width)]
    chunks = []
    for start in range(begin, min(begin + GROUP * CHUNK, len(entry.data)), CHUNK):
        raw = entry.data[start : start + CHUNK]
        check = zlib.crc32(raw.data)
        planes = split(raw if base is None else raw ^ base[start : start + CHUNK], entry.layout)
        coded = [probe.encode(plane) for probe, plane in zip(probes, planes, strict=True)]
        chunks.append(_Chunk(coded, [len(plane) for plane in planes], check))
    return entry.layout, chunks


def _delta(entry: Entry, base: Bytes | None) -> Bytes | None:
    """`base` where a difference to it is smaller, by the first chunk."""
    if base is None or len(base) != len(entry.data) or not len(base):
        return None
    sizes = []
    for raw in (entry.data[:CHUNK], entry.data[:CHUNK] ^ base[:CHUNK]):
        sizes.append(sum(len(Probe().encode(plane)[1]) for plane in split(raw, entry.layout)))
    return base if sizes[1] < sizes[0] else None


def _mapped(path: Path) -> mmap.mmap | bytes:
    try:
        with open(path, "rb") as file:
            empty = not file.read(1)
            return b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from None


def _chunks(length: int, chunk: int) -> int:
    return -(-length // chunk)


def _where(entry: Stored, chunk: int) -> str:
    return f"chunk {chunk + 1} of {len(entry.checks)} of {entry.name!r}"
