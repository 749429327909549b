"""sasrec: a causal transformer that tells each item from one that was not taken.

Kang & McAuley 2018, "Self-Attentive Sequential Recommendation", https://arxiv.org/abs/1808.09781
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from twofold.catalog import baseline
from twofold.objectives import Loss
from twofold.parts import Part
from twofold.parts.recommenders import NextItem
from twofold.tasks import Model
from twofold.tasks.recommend import Histories, HistoryBatch, RecommendData, RecommendSystem

NOTHING = -100


@baseline(
    "sasrec",
    title="Self-Attentive Sequential Recommendation",
    tasks=("recommend",),
    source="https://arxiv.org/abs/1808.09781",
    needs=("recommend the next item", "sequential recommendation with a causal transformer"),
)
class SasRec(RecommendSystem):
    """Every place of a history predicts the next item, against one item that the user did not take."""

    def network(self, items: int) -> NextItem:
        return NextItem(self.sequence_model(items + 1, self.last, causal=True, head=None), items)

    def batches(self, model: Model, data: RecommendData, seed: int) -> Callable[[int, float], HistoryBatch]:
        histories, items = Histories(data, self.last + 1, self.batch, seed), len(data.items)

        def batch(step: int, progress: float) -> HistoryBatch:
            ids, real, generator = histories(step)
            asked = torch.where(real, ids - 1, NOTHING)[:, 1:]
            wrong = not_taken(ids, asked.shape, items, generator)
            return HistoryBatch(ids[:, :-1], real[:, 1:], asked, torch.where(real[:, 1:], wrong, NOTHING))

        return batch

    def loss(self, net: Part, batch: HistoryBatch) -> Loss:
        """Binary cross-entropy of the item that came next and of one that did not (equation 11)."""
        assert isinstance(net, NextItem)
        states = net.states(batch.ids, batch.real)[batch.real]
        right, wrong = ((states * net.vectors[each[batch.real]]).sum(-1) for each in (batch.asked, batch.wrong))
        value = (F.softplus(-right) + F.softplus(wrong)).mean()
        return Loss(value, {"loss": value.detach(), "told_apart": (right > wrong).float().mean().detach()})


def not_taken(ids: Tensor, shape: torch.Size, items: int, generator: torch.Generator) -> Tensor:
    """Items drawn at random, `shape`, none of which is in its row of `ids` (unless the row holds every item)."""
    free = torch.ones(len(ids), items + 1).scatter(1, ids, 0.0)[:, 1:]
    free = free + (free.sum(1, keepdim=True) == 0)
    return torch.multinomial(free, shape[1], replacement=True, generator=generator)
