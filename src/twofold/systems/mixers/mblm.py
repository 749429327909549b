"""Multiscale byte language models: stages over nested patches, each with a stack of its own.

Egli, Manica & Born 2025, "Multiscale Byte Language Models -- A Hierarchical Architecture for Causal Million-Length
Sequence Modeling", https://arxiv.org/abs/2502.14553. The network itself: `twofold.parts.Hierarchy`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Self

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.errors import UserError, typed, unknown
from twofold.parts import Hierarchy, LMHead, PatchStage, Pattern, Stack, TokenEmbedding
from twofold.parts.fitting import check_heads
from twofold.tasks.language import LanguageSystem
from twofold.tasks.system import BYTES

STAGES: dict[str, dict[str, Any]] = {
    "transformer": {"mixer": "attention", "position": "rope"},
    "mamba": {"mixer": {"kind": "ssd", "state": 16, "head_dim": 16}, "wiring": "single"},
}
"""Layers that a stage may be made of, by name."""


@system(
    "mblm",
    number=244,
    title="Multiscale Byte Language Models -- A Hierarchical Architecture for Causal Million-Length Sequence Modeling",
    tasks=("language",),
    source="https://arxiv.org/abs/2502.14553",
    year=2025,
    needs=(
        "a language model of very long byte sequences",
        "generation from long contexts at little cost a byte",
        "language model without a tokenizer",
        "MegaByte",
    ),
    simplified=(
        "contexts of 1,024 bytes and width 64 in place of 5 million bytes and 350 million weights",
        "Mamba-2 blocks in place of Mamba-1",
        "while generating, only the outermost stage has a cache; those inside are computed anew within the patch",
        "texts only: serialisers of images, and questions about them, are not offered",
    ),
)
class Mblm(LanguageSystem):
    """Hierarchical language model on bytes: one stack over patches, one inside them."""

    stages: tuple[str, ...] = Field(
        ("mamba", "transformer"), description="what each stage is made of, outermost first: transformer or mamba"
    )
    patches: tuple[int, ...] = Field(
        (128, 8), description="patches of each stage in one of the stage before; multiplied, the longest context"
    )
    depths: tuple[int, ...] = Field((4, 2), description="blocks of each stage")
    dim: int = Field(128, ge=8, description="width of every stage")
    heads: int = Field(4, ge=1, description="attention heads")
    chunks: int = Field(1, ge=1, description="pieces in which the last stage is trained, to save memory")
    length: int = Field(1024, ge=8, description="context in bytes")
    batch: int = Field(4, ge=1, description="windows in a batch")

    def network(self, vocab: int) -> Hierarchy:
        count, longest = len(self.stages), math.prod(self.patches)
        if not count or len(self.patches) != count or len(self.depths) != count or min(self.patches) < 1:
            raise UserError(f"mblm: {count} stages need as many patches and depths, each of at least 1")
        if self.length > longest:
            raise UserError(
                f"mblm: a context of {self.length} does not fit patches of {longest}; use "
                f"patches={typed(self.fitting())} or length={longest}"
            )
        if (widest := math.prod(self.patches[1:])) > self.length:
            raise UserError(
                f"mblm: outer patches of {widest} are longer than a context of {self.length}; use "
                f"patches={typed(self.fitting())} or length={widest}"
            )
        check_heads(self.id, self.dim, self.heads)
        if "mamba" in self.stages and self.dim % 8:
            raise UserError(
                f"mblm: dim={self.dim} does not divide into the heads of its Mamba blocks; use "
                f"dim={math.lcm(8, 2 * self.heads) * -(-self.dim // math.lcm(8, 2 * self.heads))}"
            )
        stacks = [self.stack(*each) for each in zip(self.stages, self.depths, self.patches, strict=True)]
        outer = [
            PatchStage(
                stack, vocab, self.dim, math.prod(self.patches[i + 1 :]), self.dim, self.patches[i + 1], self.dim
            )
            for i, stack in enumerate(stacks[:-1])
        ]
        embedding, head = TokenEmbedding(vocab, self.dim), LMHead(self.dim, vocab)
        return Hierarchy(outer, embedding, stacks[-1], head, self.patches, self.chunks)

    def fitting(self) -> list[int]:
        """The patches that are nearest to those asked for among those that fit the context, the last ones first."""
        room, inner = self.length, list[int]()
        for patch in self.patches[:0:-1]:
            inner.insert(0, min(patch, room))
            room //= inner[0]
        return [max(self.patches[0], -(-self.length // math.prod(inner))), *inner]

    def stack(self, kind: str, depth: int, length: int) -> Stack:
        """The blocks of one stage."""
        if kind not in STAGES:
            raise unknown("stage", kind, STAGES)
        layers = [{**STAGES[kind], "times": depth}]
        return Pattern.read(layers, dim=self.dim, heads=self.heads).stack(causal=True, max_len=length)

    def outline(self, length: int) -> Hierarchy:
        inner = self.patches[1:]
        return replace(self, length=length, patches=(-(-length // math.prod(inner)), *inner)).network(BYTES)  # type: ignore[call-arg]

    def small(self) -> Self:
        return replace(super().small(), dim=16 * self.heads, patches=(8, 4), depths=(1, 1), length=32)  # type: ignore[call-arg]

    claim: ClassVar[Claim] = Claim(
        says="Mamba over patches and attention inside them predict bytes better than attention in both (MegaByte)",
        paper="hybrids and Mamba-only hierarchies reach a lower perplexity on PG19 than MegaByte, with contexts of up "
        "to 5 million bytes on one device",
        arms=(
            Arm("mblm", stages=("transformer", "transformer"), depths=(2, 2), dim=64),
            Arm("mblm", stages=("mamba", "transformer"), depths=(4, 2), dim=64),
        ),
        data="pydoc",
        metric="bits_per_byte",
        direction="lower",
        by=0.01,
        budget=Steps(800),
        repeats=3,
        setting={"texts": 100},
        tune={"lr": (1e-3, 2e-3, 4e-3, 8e-3)},
        minutes=5,
    )
