"""self-strae: vectors of sentences from trees that the network builds, one tree a sentence, learned by contrast.

Opper, Prokhorov & Siddharth 2023, "StrAE: Autoencoding for Pre-Trained Embeddings using Explicit Structure",
https://arxiv.org/abs/2305.05588
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field

from twofold.catalog import baseline
from twofold.objectives import Loss, info_nce
from twofold.objectives.loss import token_loss
from twofold.parts import LinearComposition, Part, TreeEncoder
from twofold.tasks.search.trees import SentenceBatch, TreeSystem


@baseline(
    "self-strae",
    title="StrAE: Autoencoding for Pre-Trained Embeddings using Explicit Structure",
    tasks=("search",),
    source="https://arxiv.org/abs/2305.05588",
    needs=("sentence vectors from little text", "sentence trees without labels"),
)
class SelfStrae(TreeSystem):
    """Self-structuring tree autoencoder: one tree a sentence, linear maps, contrast of each node's two vectors."""

    by_name: ClassVar[bool] = True

    width: int = Field(16, ge=1, description="features of a channel; all channels share the maps")

    def network(self, vocab: int) -> TreeEncoder:
        return TreeEncoder(vocab, self.dim, LinearComposition(self.width), self.dropout)

    def loss(self, net: Part, batch: SentenceBatch) -> Loss:
        """The mean of cross-entropy over leaves and of InfoNCE between the vectors of each node up and down."""
        assert isinstance(net, TreeEncoder)
        forest, tokens = net.forest(batch.inputs.ids, batch.inputs.real, shared=False)
        told = net.told(forest)
        leaves = token_loss(net.head(told[: forest.leaves]), tokens)
        up, down = F.normalize(forest.vectors, dim=-1), F.normalize(told, dim=-1)
        contrast = info_nce(up, down, math.exp(-0.2)).value / 2
        value = (leaves + contrast) / 2
        return Loss(value, {"loss": value.detach(), "leaves": leaves.detach(), "contrast": contrast.detach()})

    def small(self) -> SelfStrae:
        return replace(super().small(), batch=4)
