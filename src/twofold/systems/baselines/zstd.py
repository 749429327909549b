"""Zstandard, level 3, on the whole file: what one would do without knowing that it holds floats.

Collet & Kucherawy 2021, RFC 8878, https://www.rfc-editor.org/rfc/rfc8878
"""

from __future__ import annotations

from typing import ClassVar

from twofold.catalog import baseline
from twofold.tasks.store import StoreSystem


@baseline(
    "zstd",
    title="Zstandard",
    tasks=("store",),
    source="https://www.rfc-editor.org/rfc/rfc8878",
    needs=("compress a weight file with a general-purpose compressor",),
)
class Zstd(StoreSystem):
    """General-purpose compression of the whole weight file."""

    suffix: ClassVar[str] = ".zst"
