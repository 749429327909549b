"""ZipNN: weight files without loss in two thirds of their bytes: exponents apart from mantissas, then Huffman.

Hershcovitch et al. 2024, "ZipNN: Lossless Compression for AI Models", https://arxiv.org/abs/2411.05239
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from twofold.catalog import Arm, Claim, Guard, system
from twofold.tasks.store import StoreSystem


@system(
    "zipnn",
    number=269,
    title="ZipNN: Lossless Compression for AI Models",
    tasks=("store",),
    source="https://arxiv.org/abs/2411.05239",
    year=2024,
    needs=(
        "store a model in fewer bytes without any loss",
        "compress safetensors files",
        "lossless compression of checkpoints and weights",
        "keep many checkpoints of a training run as differences",
    ),
    simplified=(
        "Huffman coding is Zstandard's literal coder (the same Huff0) behind a match finder that finds next to nothing",
        "a plane is probed every eight chunks, by 32 KiB of it, which decide how the eight are coded",
        "whether a tensor is stored as a difference to the base is decided on its first chunk",
    ),
)
class ZipNn(StoreSystem):
    """Lossless packing of weights: byte planes in chunks, each raw, Huffman or Zstandard, whichever pays."""

    suffix: ClassVar[str] = ".tfz"

    base: str | None = Field(
        None, description="for files: the one that others are stored as the difference to; first: a folder's first"
    )

    def base_file(self) -> str | None:
        return self.base

    claim: ClassVar[Claim] = Claim(
        says="byte planes with Huffman-coded exponents store bfloat16 weights in fewer bytes than Zstandard does",
        paper="Llama 3 in bfloat16: 66.3 % of its bytes, against 77.7 % by Zstandard; 62 % faster in both directions",
        arms=(Arm("zstd"), Arm("zipnn")),
        data="minilm",
        metric="size@bfloat16",
        direction="lower",
        by=0.08,
        repeats=3,
        repeat="file",
        on="minilm",
        task="store",
        setting={
            "dtypes": ("bfloat16", "float32"),
            "pieces": (
                ("model.embedding.",),
                ("model.stack.layers.0.", "model.stack.layers.1.", "model.stack.layers.2."),
                ("model.stack.layers.3.", "model.stack.layers.4.", "model.stack.layers.5."),
            ),
        },
        guards=(Guard("exact", "method", at_least=1.0), Guard("exact", "baseline", at_least=1.0)),
        minutes=0.5,
    )
