"""PixelBytes: text and pixels in one sequence, each pixel read with those around it.

Furfaro 2024, "PixelBytes: Catching Unified Embedding for Multimodal Generation", https://arxiv.org/abs/2409.15512
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.parts import Part, PxByEmbedding
from twofold.tasks.draw import DrawSystem


@system(
    "pixelbytes",
    number=254,
    title="PixelBytes: Catching Unified Embedding for Multimodal Generation",
    tasks=("draw",),
    source="https://arxiv.org/abs/2409.15512",
    year=2024,
    needs=(
        "generate text and small images in one sequence",
        "draw sprites from captions",
        "pixel art with a limited palette",
    ),
    simplified=(
        "written digits with their names in eight greys in place of sprites in 55 colours",
        "the two directions of the first layer are summed, not joined",
        "cores of attention and of state spaces are not offered",
        "judged by the next token, not by continuations of 16 tokens",
    ),
)
class PixelBytes(DrawSystem):
    """Recurrent network over bytes and colours that reads each token with its neighbourhood of 3 x 3."""

    channels: int | None = Field(None, ge=1, description="of a cell's vector; default: dim / 9, and at least 9")

    def embedding(self, vocab: int) -> Part:
        return PxByEmbedding(vocab, self.dim, self.channels)

    claim: ClassVar[Claim] = Claim(
        says="pixels read with their neighbours are predicted better than pixels read by themselves",
        paper="two-way LSTM with PxBy and convolution: the best Hamming distance, cosine and BLEU of continuations",
        arms=(Arm("mixed-lstm"), Arm("pixelbytes")),
        data="digits",
        metric="pixel_accuracy",
        by=0.03,
        budget=Steps(600),
        repeats=3,
        setting={"images": 120},
        side=(Arm("mixed-lstm", core="one-way"), Arm("pixelbytes", core="one-way")),
        tune={"lr": (1e-3, 3e-3, 1e-2)},
        tune_by="log_likelihood",  # half of all pixels are black, which short runs always guess
        minutes=4,
    )
