"""Tensors as byte planes, each coded on its own: exponents of trained weights are skewed, mantissas are not.

Hershcovitch et al. 2024, "ZipNN: Lossless Compression for AI Models", https://arxiv.org/abs/2411.05239, section 3.
A float is rotated left by one bit, so that its highest byte is the whole 8-bit exponent (bfloat16, float32) and the
sign goes to the end of the mantissa.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

GAIN = 0.05
"""A plane that saves less than this share is stored as it is."""

_SAMPLE, _PIECES = 1 << 15, 4  # bytes of a plane that the coder is chosen by, and from how many places
_SLACK = 0.03  # of its entropy that a Huffman-coded plane may be larger


class Layout(NamedTuple):
    """How numbers are cut into planes: `width` bytes each, rotated left by one bit first if `rotated`."""

    width: int
    rotated: bool = False


class Coder(IntEnum):
    """How a plane of a chunk is stored.

    `HUFFMAN` and `ZSTD` are Zstandard frames (RFC 8878), the first by an encoder that hardly looks for matches.
    `DEFLATE` is a raw stream (RFC 1951) without any match: slower, and smaller where the few matches cost.
    """

    RAW = 0
    HUFFMAN = 1
    ZSTD = 2
    DEFLATE = 3


_LAYOUTS = {
    "BF16": Layout(2, True),
    "F32": Layout(4, True),
    "C64": Layout(4, True),
    "F64": Layout(8, True),
    "F16": Layout(2),
    **{f"{sign}{8 * width}": Layout(width) for sign in "IU" for width in (1, 2, 4, 8)},
}


def layout(dtype: str, length: int = 0) -> Layout:
    """The planes of a type as safetensors names it; types of one byte or less, and unknown ones, are one plane.

    Args:
        dtype: `BF16`, `F32`, `F16`, `I8`, …
        length: bytes of the tensor; one that does not divide into numbers of that type is one plane.
    """
    found = _LAYOUTS.get(dtype, Layout(1))
    return Layout(1) if length % found.width else found


def split(raw: Bytes, layout: Layout) -> list[Bytes]:
    """The planes of little-endian numbers, lowest byte first, `[n / width]` each."""
    width, rotated = layout
    if width == 1:
        return [raw]
    numbers = raw.view(f"<u{width}")
    if rotated:
        kind = numbers.dtype.type
        numbers = (numbers << kind(1)) | (numbers >> kind(8 * width - 1))
    if width == 2:  # two casts are twice as fast as two copies with a stride; of four, copies are
        return [numbers.astype(np.uint8), (numbers >> np.uint16(8)).astype(np.uint8)]
    planes = numbers.astype(f"<u{width}", copy=False).view(np.uint8).reshape(-1, width)
    return [np.ascontiguousarray(planes[:, place]) for place in range(width)]


def join(planes: Sequence[Bytes], layout: Layout) -> Bytes:
    """What `split` cut, `[n]`."""
    width, rotated = layout
    if width == 1:
        return planes[0]
    numbers = planes[-1].astype(f"<u{width}")
    kind = numbers.dtype.type
    for plane in planes[-2::-1]:
        numbers <<= kind(8)
        numbers |= plane
    if rotated:
        sign = numbers << kind(8 * width - 1)
        numbers >>= kind(1)
        numbers |= sign
    return numbers.view(np.uint8)


class _Local(threading.local):
    """Coders of one thread: they may not be shared, and are dear to make."""

    def __init__(self) -> None:
        # Zstandard codes its literals with Huff0, the coder that ZipNN uses. A match finder of 64 entries that wants
        # seven bytes finds next to nothing, so that all are literals.
        starved = zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST,
            window_log=18,
            hash_log=6,
            chain_log=6,
            search_log=1,
            min_match=7,
            target_length=0,
            write_content_size=True,
        )
        self.compressors = {
            Coder.HUFFMAN: zstandard.ZstdCompressor(compression_params=starved),
            Coder.ZSTD: zstandard.ZstdCompressor(level=3),
        }
        self.decompressor = zstandard.ZstdDecompressor()


_local = _Local()


def encode(plane: Bytes, coder: Coder) -> bytes:
    """The plane, coded."""
    if coder is Coder.RAW:
        return plane.tobytes()
    if coder is Coder.DEFLATE:
        stream = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
        return stream.compress(plane.data) + stream.flush()
    return _local.compressors[coder].compress(plane.data)


def decode(data: bytes | memoryview, coder: Coder, length: int) -> Bytes:
    """What `encode` coded, `[length]`.

    Raises:
        ValueError: the bytes are not such a plane.
    """
    if coder is Coder.DEFLATE:
        data = _inflated(data, length)
    elif coder is not Coder.RAW:
        data = unframed(data, length)
    plane = np.frombuffer(data, np.uint8)
    if len(plane) != length:
        raise ValueError(f"{len(plane)} bytes in place of {length}")
    return plane


def unframed(data: bytes | memoryview, length: int) -> bytes:
    """The content of one Zstandard frame, which must say itself that it is `length` bytes.

    Raises:
        ValueError: damaged, or of another length; nothing of that length is made room for.
    """
    try:
        said = zstandard.frame_content_size(data)
        if said != length:
            raise ValueError(f"a frame of {said} bytes in place of {length}")
        return _local.decompressor.decompress(data, max_output_size=length)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def _inflated(data: bytes | memoryview, length: int) -> bytes:
    stream = zlib.decompressobj(-15)
    try:
        plane = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not stream.eof or stream.unused_data:
        raise ValueError("a stream that does not end where it should")
    return plane


def entropy(plane: Bytes) -> float:
    """Bytes that the plane takes if every value costs the logarithm of its share: what Huffman coding aims at."""
    counts = np.bincount(plane)
    counts = counts[counts > 0]
    return float((counts * np.log2(len(plane) / counts)).sum()) / 8


class Probe:
    """Decides how one plane of a few successive chunks is coded, by a sample of the first.

    If nothing saves `GAIN` of it, the plane is stored as it is. Zstandard with its matches is used only where it
    beats Huffman there (words and runs that come again); then both are tried, chunk by chunk. DEFLATE is tried where
    the better one is 3 % above the entropy.
    """

    def __init__(self) -> None:
        self.coders: tuple[Coder, ...] | None = None

    def encode(self, plane: Bytes) -> tuple[Coder, bytes]:
        """The plane of the next chunk, coded, and by what."""
        if self.coders is None:
            self.coders = _chosen(_sample(plane))
        coded = {coder: encode(plane, coder) for coder in self.coders}
        best = min(coded, key=lambda coder: len(coded[coder]), default=Coder.RAW)
        if best is Coder.RAW or len(coded[best]) > (1 - GAIN) * len(plane):
            return Coder.RAW, plane.tobytes()
        return best, coded[best]


def _sample(plane: Bytes) -> Bytes:
    if len(plane) <= _SAMPLE:
        return plane
    size, step = _SAMPLE // _PIECES, len(plane) // _PIECES
    return np.concatenate([plane[start : start + size] for start in range(0, _PIECES * step, step)])


def _chosen(sample: Bytes) -> tuple[Coder, ...]:
    tried = (Coder.HUFFMAN, Coder.ZSTD)
    sizes = {coder: len(encode(sample, coder)) for coder in tried}
    smallest = min(sizes.values())
    if len(sample) and smallest > (1 + _SLACK) * entropy(sample):
        sizes[Coder.DEFLATE] = len(encode(sample, Coder.DEFLATE))
    best = min(sizes, key=lambda coder: sizes[coder])
    if sizes[best] > (1 - GAIN) * len(sample):
        return ()
    return tried if best is Coder.ZSTD else (best,)
