"""The layout of a safetensors file: a JSON header, then the tensors' bytes without gaps.

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HEADER_LIMIT = 100_000_000  # as in the reference implementation

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Region:
    """Where a tensor is: its type as safetensors names it, its shape, and its bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def tensor(self, data: NDArray[np.uint8]) -> Tensor:
        """The tensor of these bytes, without a copy.

        Raises:
            ValueError: a type that PyTorch does not have, or bytes that do not fit the shape.
        """
        if self.dtype not in _TYPES:
            raise ValueError(f"no tensor of type {self.dtype} can be made")
        kind = _TYPES[self.dtype]
        if math.prod(self.shape) * kind.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for a tensor {list(self.shape)} of {self.dtype}")
        return (
            torch.from_numpy(data).view(kind).reshape(self.shape) if len(data) else torch.empty(self.shape, dtype=kind)
        )


@dataclass(frozen=True)
class Header:
    """What stands before the tensors.

    Attributes:
        data: the header's own bytes, its length in front.
        regions: by name, in the order of their bytes.
        metadata: the writer's texts.
    """

    data: bytes
    regions: Mapping[str, Region]
    metadata: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return max((r.stop for r in self.regions.values()), default=0)


def header(data: bytes | memoryview | Any) -> Header:
    """The header at the beginning of `data`.

    Raises:
        ValueError: this is no safetensors file, or regions overlap or leave gaps.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(_HEADER_LIMIT, len(data) - 8):
        raise ValueError("no safetensors header")
    head = bytes(data[: 8 + length])
    try:
        told = json.loads(head[8:].decode("utf-8"))
        metadata = {str(k): str(v) for k, v in told.pop("__metadata__", {}).items()}
        regions = {
            name: Region(
                str(r["dtype"]), tuple(map(int, r["shape"])), int(r["data_offsets"][0]), int(r["data_offsets"][1])
            )
            for name, r in told.items()
        }
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"the safetensors header cannot be read ({error})") from None
    ordered = dict(sorted(regions.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = 0
    for name, region in ordered.items():
        if region.start != end or region.stop < end or any(d < 0 for d in region.shape):
            raise ValueError(f"{name!r} leaves a gap or overlaps")
        end = region.stop
    return Header(head, ordered, metadata)
