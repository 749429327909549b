"""RankT5: an encoder, or an encoder and one step of a decoder, that gives a score and is trained with ranking losses.

Zhuang et al. 2022, "RankT5: Fine-Tuning T5 for Text Ranking with Ranking Losses", https://arxiv.org/abs/2210.10634
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from twofold.catalog import Arm, Claim, Steps, system
from twofold.data.tokenizers import Tokenizer, spare_token
from twofold.objectives import Loss, ranking
from twofold.parts import (
    FFN,
    Attention,
    Block,
    Cls,
    CrossAttention,
    CrossEncoder,
    HeadScorer,
    Mean,
    Part,
    RMSNorm,
    SequenceHead,
    SequenceModel,
    Stack,
    StepScorer,
)
from twofold.tasks.search import ListBatch, RerankSystem

POOLS = {"mean": Mean, "first": Cls}
# Both arms of the claim, which see the same lists.
LISTS: dict[str, Any] = {
    "backbone": "tiny-encoder-2",
    "tune_layers": 0,
    "query_tokens": 24,
    "document_tokens": 64,
    "depth": 20,
    "candidates": 8,
    "batch": 8,
}


@system(
    "rankt5",
    number=2,
    title="RankT5: Fine-Tuning T5 for Text Ranking with Ranking Losses",
    tasks=("search",),
    source="https://arxiv.org/abs/2210.10634",
    year=2022,
    needs=(
        "rerank search results",
        "train a cross-encoder with a listwise loss",
        "learning to rank texts with graded relevance",
    ),
    simplified=(
        "the decoder of the encoder-decoder form starts from random weights, and is two blocks by default",
        "lists are as long as is asked for (8 by default), in place of 36",
        "separator tokens stand between query and document where the tokenizer has them",
        "cosine decay of the learning rate, in place of a constant one",
    ),
)
class RankT5(RerankSystem):
    """Reranker that scores directly and learns from whole lists of candidates."""

    form: Literal["encoder", "encoder-decoder"] = Field(
        "encoder",
        description="a dense layer on the pooled states, or the logit of a spare token after one decoder step",
    )
    pool: Literal["mean", "first"] = Field("mean", description="what the dense layer reads, in the encoder form")
    decoder_layers: int = Field(2, ge=1, le=48, description="blocks of the decoder, in the encoder-decoder form")
    objective: Literal["pointwise", "pairwise", "softmax", "poly1"] = Field("softmax", description="the ranking loss")
    epsilon: float = Field(1.0, ge=0, description="weight of the first polynomial term, in poly1")

    def network(self, backbone: SequenceModel, tokenizer: Tokenizer, head: Any) -> CrossEncoder:
        if self.form == "encoder":
            return HeadScorer(backbone, POOLS[self.pool](), SequenceHead(backbone.dim, 1))
        start = tokenizer.pad if tokenizer.pad is not None else spare_token(tokenizer)
        return StepScorer(backbone, decoder(backbone.dim, self.decoder_layers), start, spare_token(tokenizer))

    def loss(self, net: Part, batch: ListBatch) -> Loss:
        """One of section 4.2's losses over the lists; several answers share a list's target by their grades."""
        assert isinstance(net, CrossEncoder)
        scores, grades = batch.table(net.scores(batch.pairs.embed(net))), batch.grades
        if self.objective == "pointwise":
            return ranking.pointwise(scores, (grades > 0).to(scores), batch.counted)
        if self.objective == "pairwise":
            return ranking.pairwise(scores, grades, batch.counted)
        return ranking.poly_softmax(scores, grades, batch.counted, self.epsilon if self.objective == "poly1" else 0.0)

    claim: ClassVar[Claim] = Claim(
        says="trained on the same lists, a softmax over a list ranks better than judging every pair by itself",
        paper="softmax about 2 points of MRR@10 above monoT5's classification on MS MARCO and NQ",
        arms=(Arm("cross-encoder", **LISTS), Arm("rankt5", **LISTS)),
        data="pydoc",
        metric="ndcg@10",
        by=0.01,
        budget=Steps(150),
        setting={"queries": 200},
        side=(Arm("bm25"), Arm("rankt5", objective="pairwise", **LISTS)),
        tune={"positive_weight": (1.0, 3.0, 7.0), "lr": (3e-4, 1e-3, 2e-3)},
        minutes=10,
    )


def decoder(dim: int, layers: int) -> Stack:
    """T5's decoder: pre RMS norm, attention to itself, to the encoder's states, and a feed-forward part."""
    heads = max(1, dim // 32)
    blocks: list[Part] = []
    for _ in range(layers):
        blocks.append(Block(Attention(dim, heads, causal=True), None, RMSNorm(dim)))
        blocks.append(
            Block(CrossAttention(dim, heads), FFN(dim, 4 * dim, "relu", bias=False), RMSNorm(dim), RMSNorm(dim))
        )
    return Stack(blocks, RMSNorm(dim))
