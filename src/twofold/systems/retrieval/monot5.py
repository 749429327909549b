"""monoT5: a language model reads a query and a document, and says in a word whether they belong together.

Nogueira et al. 2020, "Document Ranking with a Pretrained Sequence-to-Sequence Model",
https://arxiv.org/abs/2003.06713
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import torch
from pydantic import Field

from twofold.catalog import Arm, Claim, Guard, Steps, system
from twofold.data.tokenizers import Tokenizer, word_ids
from twofold.errors import UserError
from twofold.objectives import Loss, classification
from twofold.parts import Part, SequenceModel, WordScorer
from twofold.tasks import instructed
from twofold.tasks.options import Backbone
from twofold.tasks.search import ListBatch, RerankSystem

TEMPLATE = "Query: {query} Document: {document} Relevant:"
# Both arms of the claim: 32 pairs, a query's answer and a wrong document that BM25 ranks high, eight a step.
FEW: dict[str, Any] = {
    "backbone": "smollm2",
    "template": TEMPLATE,
    "query_tokens": 16,
    "document_tokens": 24,
    "examples": 16,
    "candidates": 2,
    "negatives": 20,
    "batch": 4,
}


@system(
    "monot5",
    number=31,
    title="Document Ranking with a Pretrained Sequence-to-Sequence Model",
    tasks=("search",),
    source="https://arxiv.org/abs/2003.06713",
    year=2020,
    needs=(
        "rerank search results with a language model",
        "train a reranker from few examples",
        "judge whether a document answers a query",
        "rerank long documents",
    ),
    simplified=(
        "any language model in place of T5: a decoder reads the pair and its next word answers; a two-way network "
        "answers at a mask token at the end",
        "cosine decay of the learning rate, in place of a constant one",
    ),
)
class MonoT5(RerankSystem):
    """Reranker that asks a language model for one of two words, true or false."""

    backbone: Backbone = Field(
        "smollm2", description="preset and size, reference model, checkpoint or folder, or layers: [{mixer: ssd}]"
    )
    template: str = Field(TEMPLATE, description="how query and document are joined; the word comes next")
    words: tuple[str, str] = Field(
        ("true", "false"), description="the word for what answers, and that for what does not"
    )
    candidates: int = Field(2, ge=2, le=1000, description="documents in a list: what answers, and hard negatives")

    def asks(self, tokenizer: Tokenizer, causal: bool) -> tuple[int, ...]:
        """A network that looks both ways answers at its mask token, where it has one."""
        return () if causal or tokenizer.mask is None else (tokenizer.mask,)

    def network(self, backbone: SequenceModel, tokenizer: Tokenizer, head: Any) -> WordScorer:
        yes, no = (one_token(tokenizer, word) for word in self.words)
        if yes == no:
            raise UserError(f"words={'+'.join(self.words)} are the same token; choose two that differ")
        return WordScorer(instructed.with_words(backbone, head), yes, no)

    def loss(self, net: Part, batch: ListBatch) -> Loss:
        """Cross-entropy of the right word over the whole vocabulary, as in teacher forcing."""
        assert isinstance(net, WordScorer)
        answers = torch.where(batch.grades[batch.counted] > 0, net.yes, net.no)
        return classification.classes(batch.pairs.embed(net), answers)

    def small(self) -> Self:
        small: Any = super().small()
        return cast(Self, replace(small, words=("red", "old")))

    claim: ClassVar[Claim] = Claim(
        says="from 32 pairs, a language model learns to rank better by the words true and false than by a linear head",
        paper="with 1,000 training queries, MRR@10 on MS MARCO far above BERT with a classification head; 0.39 with 3B",
        arms=(Arm("cross-encoder", pool="last", **FEW), Arm("monot5", **FEW)),
        data="pydoc",
        metric="auc",
        by=0.03,
        budget=Steps(40),
        setting={"pairs": 300},
        guards=(Guard("auc", "method", at_least=0.55),),  # at 0.5 nothing was learned that could be compared
        tune={"lr": (1e-5, 3e-5, 1e-4, 3e-4)},
        trial={"batch": 2},  # tuning takes more steps: so it sees as many pairs
        minutes=6,
    )


def one_token(tokenizer: Tokenizer, word: str) -> int:
    """The token of a word as it stands after a space.

    Raises:
        UserError: it has several, and names the pieces; or the vocabulary does not have it.
    """
    ids = word_ids(tokenizer, word)
    if len(ids) == 1 and tokenizer.decode(ids).strip().casefold() != word.strip().casefold():
        raise UserError(f"the word {word!r} is not in the vocabulary; choose another word")
    if len(ids) != 1:
        pieces = ", ".join(repr(tokenizer.decode([id])) for id in ids)
        raise UserError(f"the word {word!r} is {len(ids)} tokens ({pieces}) and an answer is one; choose another word")
    return ids[0]
