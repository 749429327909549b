"""contrastive-languages: sentences that say the same are found among the others of a batch.

Yang et al. 2019, "Improving Multilingual Sentence Embedding using Bi-directional Dual Encoder with Additive Margin
Softmax", https://arxiv.org/abs/1902.08564 (without the margin)
"""

from __future__ import annotations

from pydantic import Field

from twofold.catalog import baseline
from twofold.objectives import Loss, info_nce
from twofold.parts import Tower
from twofold.tasks.search.parallel import ParallelBatch, ParallelTransform


@baseline(
    "contrastive-languages",
    title="Improving Multilingual Sentence Embedding using Bi-directional Dual Encoder with Additive Margin Softmax",
    tasks=("search",),
    source="https://arxiv.org/abs/1902.08564",
    needs=("multilingual sentence embeddings from translations",),
)
class ContrastiveLanguages(ParallelTransform):
    """Tunes an encoder so that each text finds its translation among those of the batch, and the other way round."""

    temperature: float = Field(0.05, gt=0, description="of the softmax over the batch")

    def loss(self, student: Tower, teacher: Tower, batch: ParallelBatch) -> Loss:
        """InfoNCE in both directions; no teacher."""
        translated, texts = batch.translations.embed(student), batch.texts.embed(student)
        return info_nce(translated, texts, self.temperature, two_way=True)
