"""BERT4Rec: items as words, a history as a sentence, and some of its items hidden.

Sun et al. 2019, "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
https://arxiv.org/abs/1904.06690
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from twofold.catalog import Arm, Claim, Steps, system
from twofold.objectives import Loss
from twofold.objectives.masked import mask_tokens, masked
from twofold.parts import Part
from twofold.parts.recommenders import ClozeItem
from twofold.tasks import Model
from twofold.tasks.recommend import Histories, HistoryBatch, RecommendData, RecommendSystem

NOTHING = -100


@system(
    "bert4rec",
    number=270,
    title="BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer",
    tasks=("recommend",),
    source="https://arxiv.org/abs/1904.06690",
    year=2019,
    needs=(
        "recommend the next item, film or product",
        "predict what a customer buys next",
        "sequential recommendation from clicks or ratings",
    ),
    simplified=(
        "500 steps and the last 32 items in the claim",
        "blocks normalise before attention, not after, and nothing is dropped out",
        "histories with only their last item hidden are drawn among the others, in place of a copy of each an epoch",
    ),
)
class Bert4Rec(RecommendSystem):
    """A two-way transformer that tells hidden items from those before and after; the next one is a hidden last."""

    hidden: float = Field(0.4, gt=0, lt=1, description="share of a history's items that are hidden (paper: 0.2 to 0.6)")
    only_last: float = Field(0.1, ge=0, le=1, description="share of histories with only the last item hidden")

    def network(self, items: int) -> ClozeItem:
        return ClozeItem(self.sequence_model(items + 2, self.last + 1, causal=False, head="mlm"), items)

    def batches(self, model: Model, data: RecommendData, seed: int) -> Callable[[int, float], HistoryBatch]:
        histories, items = Histories(data, self.last + 1, self.batch, seed), len(data.items)

        def batch(step: int, progress: float) -> HistoryBatch:
            ids, real, generator = histories(step)
            seen, asked = self.hide(ids, real, items, generator)
            return HistoryBatch(seen, real, asked, torch.full_like(ids, NOTHING))

        return batch

    def hide(
        self, ids: Int[Tensor, "users time"], real: Bool[Tensor, "users time"], items: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "users time"], Int[Tensor, "users time"]]:
        """Tokens with the mask where an item is hidden, and the items' numbers there (section 3.6)."""
        mask = items + 1
        seen, labels = mask_tokens(
            ids, self.hidden, generator, mask=mask, vocab=items + 2, protect=(0,), real=real, split=(1.0, 0.0, 0.0)
        )
        alone = torch.rand(len(ids), 1, generator=generator) < self.only_last
        # A short history may have lost nothing: then its last item is hidden, so that every row teaches something.
        alone = alone | (labels == NOTHING).all(1, keepdim=True)
        last = torch.arange(ids.shape[1]) == real.sum(1, keepdim=True) - 1
        seen = torch.where(alone, ids.masked_fill(last, mask), seen)
        labels = torch.where(alone, torch.where(last, ids, NOTHING), labels)
        return seen, torch.where(labels == NOTHING, NOTHING, labels - 1)

    def loss(self, net: Part, batch: HistoryBatch) -> Loss:
        """Cross-entropy over all items at the hidden places (equation 8)."""
        assert isinstance(net, ClozeItem)
        at = batch.asked != NOTHING
        return masked(net.logits(batch.ids, batch.real, at), batch.asked[at])

    claim: ClassVar[Claim] = Claim(
        says="hiding items and reading both ways ranks the next item better than a causal model told apart from one",
        paper="above SASRec on four sets, on average +7.2 % HR@10 and +11 % NDCG@10",
        arms=(Arm("sasrec", last=32), Arm("bert4rec", last=32)),
        data="histories",
        metric="ndcg@10",
        by=0.0296,
        scale="ratio",
        budget=Steps(800),
        side=(Arm("most-popular"), Arm("item-knn"), Arm("markov")),
        tune={"lr": (2e-3, 4e-3, 8e-3, 1.6e-2)},
        minutes=4,
    )
