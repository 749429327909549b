"""xVLM2Vec: an English encoder that teaches itself other languages, by its own vectors of the English texts.

2025, "xVLM2Vec: Adapting LVLM-based embedding models to multilinguality using Self-Knowledge Distillation",
https://arxiv.org/abs/2503.09313
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from twofold.catalog import Arm, Claim, system
from twofold.objectives import Loss
from twofold.parts import Tower
from twofold.tasks.search.parallel import ParallelBatch, ParallelTransform, vectors


@system(
    "xvlm2vec",
    number=4,
    title="xVLM2Vec: Adapting LVLM-based embedding models to multilinguality using Self-Knowledge Distillation",
    tasks=("search",),
    source="https://arxiv.org/abs/2503.09313",
    year=2025,
    needs=(
        "make an English embedding model multilingual",
        "search English documents in French, German, Italian or Spanish",
        "add a language to an encoder from translated pairs",
        "keep my index when the encoder learns languages",
    ),
    simplified=(
        "text encoders only: where the paper's space is shared with images, the claim's is with documents that stay as "
        "the original encoded them",
        "the top layers are trained, in place of low-rank adapters in all",
        "vectors are compared as the model gives them (minilm: at unit length)",
    ),
)
class Xvlm2vec(ParallelTransform):
    """Adapts an encoder to other languages: translations go to where it puts the English text, which stays there."""

    keep_english: float = Field(1.0, ge=0, description="weight of keeping English texts where they are")

    def loss(self, student: Tower, teacher: Tower, batch: ParallelBatch) -> Loss:
        """`‖S(x) − T(e)‖² + ‖S(e) − T(e)‖²`, the mean over pairs (section 3)."""
        target = vectors(teacher, batch.texts)
        across = (batch.translations.embed(student) - target).square().sum(-1).mean()
        kept = (batch.texts.embed(student) - target).square().sum(-1).mean()
        value = across + self.keep_english * kept
        return Loss(value, {"loss": value.detach(), "across": across.detach(), "kept": kept.detach()})

    claim: ClassVar[Claim] = Claim(
        says="an English encoder that learns four languages from its own vectors finds documents, left as they were, "
        "more often than one that learns to match translations",
        paper="large gains in French, German, Italian and Spanish with English kept, on classification, question "
        "answering, retrieval and grounding with images",
        arms=(
            Arm("contrastive-languages", keep_documents=True, steps=150),
            Arm("xvlm2vec", keep_documents=True, steps=150),
        ),
        data="languages",
        metric="mrr@10",
        by=0.05,
        repeats=3,
        on="minilm",
        task="search",
        side=(
            Arm("xvlm2vec", keep_documents=True, steps=0),
            Arm("xvlm2vec", keep_documents=True, steps=150, keep_english=0.0),
        ),
        tune={"lr": (1e-4, 3e-4, 1e-3)},
        minutes=4,
    )
