"""tilde: reranking by the likelihood that a passage gives to each of a query's terms; no network reads the query.

Zhuang & Zuccon 2021, "TILDE: Term Independent Likelihood moDEl for Passage Re-ranking", SIGIR,
https://dl.acm.org/doi/10.1145/3404835.3462922
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field

from twofold.catalog import baseline
from twofold.errors import UserError
from twofold.objectives import Loss
from twofold.parts import Part, SequenceModel, TermLikelihoods
from twofold.tasks import Model, backbones
from twofold.tasks.inputs import TokenInputs
from twofold.tasks.options import Backbone
from twofold.tasks.search import EncoderModel, PairBatch, SearchData, SearchSystem
from twofold.tasks.search.terms import base_rates, head, silent_tokens, stop_tokens


@baseline(
    "tilde",
    title="TILDE: Term Independent Likelihood moDEl for Passage Re-ranking",
    tasks=("search",),
    source="https://dl.acm.org/doi/10.1145/3404835.3462922",
    needs=("rerank without a network at query time", "expand documents by likely query terms"),
)
class Tilde(SearchSystem):
    """Reranker that stores the likelihood of every term of the vocabulary for each passage."""

    by_name: ClassVar[bool] = True

    backbone: Backbone = Field("bert-2x128", description="preset and size, reference model, checkpoint or folder")
    document_tokens: int = Field(64, ge=2, le=512, description="documents are cut here")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    depth: int = Field(100, ge=1, le=1000, description="BM25's best so many are put in order for a query")

    def network(self, chosen: backbones.Chosen) -> TermLikelihoods:
        """A head over the vocabulary, read at the first token. Raises UserError without such a token."""
        tokenizer = chosen.tokenizer
        if tokenizer.cls is None or chosen.model.stack.causal:
            raise UserError(
                f"backbone={self.backbone} has no first token that sees all of a text; use one such as bert-2x128"
            )
        model = SequenceModel(chosen.model.embedding, chosen.model.stack, head(chosen))
        return TermLikelihoods(model, [*silent_tokens(tokenizer), *stop_tokens(tokenizer)])

    def start(self, data: SearchData, seed: int) -> Model:
        model = super().start(data, seed)
        assert isinstance(model, EncoderModel)
        base_rates(model, data)
        model.spec |= {"depth": self.depth}
        return model

    def loss(self, net: Part, batch: PairBatch) -> Loss:
        """Bi-directional: the query's terms from the document, and the document's from the query.

        Cross-entropies of all terms, summed over the vocabulary.
        """
        assert isinstance(net, TermLikelihoods)
        queries, documents = batch.queries, batch.documents
        assert isinstance(queries, TokenInputs)
        assert isinstance(documents, TokenInputs)
        asked, held = ((side.embed(net.counts) > 0).float() for side in (queries, documents))
        from_document, from_query = (net.logits(side.ids, side.real) for side in (documents, queries))
        both = [
            F.binary_cross_entropy_with_logits(logits.float(), terms, reduction="sum") / len(terms)
            for logits, terms in ((from_document, asked), (from_query, held))
        ]
        value = torch.stack(both).sum()
        return Loss(value, {"loss": value.detach(), "query": both[0].detach(), "document": both[1].detach()})
