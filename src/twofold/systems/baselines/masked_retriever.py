"""masked-retriever: a dual encoder on first states, pre-trained on the documents as a masked language model.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Karpukhin et al. 2020, https://arxiv.org/abs/2004.04906
"""

from __future__ import annotations

from typing import ClassVar

from twofold.catalog import baseline
from twofold.tasks.search.pretraining import PretrainedRetriever


@baseline(
    "masked-retriever",
    title="Dense Passage Retrieval on a masked language model",
    tasks=("search",),
    source="https://arxiv.org/abs/2004.04906",
    needs=("pre-train an encoder on my documents before it learns to search",),
)
class MaskedRetriever(PretrainedRetriever):
    """Dual encoder that fills in hidden tokens of the documents before it learns from pairs."""

    by_name: ClassVar[bool] = True
